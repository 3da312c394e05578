#include "instructblip/generation/resolved_config.h"

#include "instructblip/generation/resolved_config-inl.h"
