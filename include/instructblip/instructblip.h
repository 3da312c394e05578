// The whole library.
#pragma once

#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "instructblip/core/tensor.h"
#include "instructblip/core/threads.h"
#include "instructblip/kernels/dispatch.h"
#include "instructblip/kernels/kernels.h"
#include "instructblip/version.h"
