#include "instructblip/layers/kv_cache.h"

#include "instructblip/layers/kv_cache-inl.h"
