#include "instructblip/models/modeling_llama.h"

#include "instructblip/models/modeling_llama-inl.h"
