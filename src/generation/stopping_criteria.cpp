#include "instructblip/generation/stopping_criteria.h"

#include "instructblip/generation/stopping_criteria-inl.h"
