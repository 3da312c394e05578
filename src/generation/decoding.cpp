#include "instructblip/generation/decoding.h"

#include "instructblip/generation/decoding-inl.h"
