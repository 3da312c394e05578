#include "instructblip/models/modeling_opt.h"

#include "instructblip/models/modeling_opt-inl.h"
