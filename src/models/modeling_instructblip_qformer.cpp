#include "instructblip/models/modeling_instructblip_qformer.h"

#include "instructblip/models/modeling_instructblip_qformer-inl.h"
