#include "instructblip/models/modeling_instructblip.h"

#include "instructblip/models/modeling_instructblip-inl.h"
