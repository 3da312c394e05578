#include "instructblip/models/auto_language_model.h"

#include "instructblip/models/auto_language_model-inl.h"
