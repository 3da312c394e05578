#include "instructblip/models/modeling_instructblip_vision.h"

#include "instructblip/models/modeling_instructblip_vision-inl.h"
