#include "instructblip/generation/beam_search.h"

#include "instructblip/generation/beam_search-inl.h"
