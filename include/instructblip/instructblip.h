// Everything that a program needs. The first things to look at are tasks/load.h,
// processing/processing_instructblip.h, models/modeling_instructblip.h and
// generation/generation_config.h. Not included: core/eigen.h (optional, for programs that use
// Eigen), the layers, and the headers of the models' parts (modeling_llama.h, ...).
#pragma once

#if __cplusplus <= 201703L
#error "instructblip needs C++20: compile with -std=c++20"
#endif

#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/configuration/configuration_blip_2.h"
#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/configuration/configuration_llama.h"
#include "instructblip/configuration/configuration_opt.h"
#include "instructblip/configuration/configuration_t5.h"
#include "instructblip/core/batch_feature.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "instructblip/core/progress.h"
#include "instructblip/core/tensor.h"
#include "instructblip/core/threads.h"
#include "instructblip/generation/generate.h"
#include "instructblip/generation/transition_scores.h"
#include "instructblip/image_processing/image.h"
#include "instructblip/image_processing/image_processing_blip.h"
#include "instructblip/image_processing/resize.h"
#include "instructblip/kernels/dispatch.h"
#include "instructblip/kernels/kernels.h"
#include "instructblip/models/auto_language_model.h"
#include "instructblip/models/modeling_blip_2.h"
#include "instructblip/models/modeling_blip_2_retrieval.h"
#include "instructblip/models/modeling_instructblip.h"
#include "instructblip/models/quantize_checkpoint.h"
#include "instructblip/models/vision_features.h"
#include "instructblip/processing/processing_blip_2.h"
#include "instructblip/processing/processing_instructblip.h"
#include "instructblip/tasks/answers.h"
#include "instructblip/tasks/folder_check.h"
#include "instructblip/tasks/load.h"
#include "instructblip/tasks/retrieval.h"
#include "instructblip/tokenization/tokenization_bert.h"
#include "instructblip/tokenization/tokenization_gpt2.h"
#include "instructblip/tokenization/tokenization_llama.h"
#include "instructblip/tokenization/tokenization_t5.h"
#include "instructblip/tokenization/tokenizer.h"
#include "instructblip/version.h"
