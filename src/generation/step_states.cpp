#include "instructblip/generation/step_states.h"

#include "instructblip/generation/step_states-inl.h"
