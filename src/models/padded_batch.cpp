#include "instructblip/models/padded_batch.h"

#include "instructblip/models/padded_batch-inl.h"
