#include "instructblip/models/modeling_t5.h"

#include "instructblip/models/modeling_t5-inl.h"
