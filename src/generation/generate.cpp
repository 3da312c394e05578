#include "instructblip/generation/generate.h"

#include "instructblip/generation/generate-inl.h"
