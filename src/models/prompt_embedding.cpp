#include "instructblip/models/prompt_embedding.h"

#include "instructblip/models/prompt_embedding-inl.h"
