#include "instructblip/generation/logits_process.h"

#include "instructblip/generation/logits_process-inl.h"
