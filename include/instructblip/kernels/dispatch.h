// The choice of a kernel level. A level is a version of the kernels for one set of CPU
// instructions.
#pragma once

#include <string>
#include <vector>

#include "instructblip/core/export.h"

namespace instructblip {

/// The kernel level in use: "eigen", which runs everywhere, or a faster one such as "avx2". It is
/// chosen once: the level named by the environment variable INSTRUCTBLIP_KERNELS if that is set,
/// otherwise the fastest one available. Throws InputError that lists the available levels if the
/// variable names another.
INSTRUCTBLIP_EXPORT std::string kernel_level();

/// The levels that this build contains and this machine can run, fastest first.
INSTRUCTBLIP_EXPORT std::vector<std::string> available_kernel_levels();

/// Switches the whole process to an available level, for tests and comparisons. Throws InputError
/// if it is not available. Must not be called while another thread is inside the library.
INSTRUCTBLIP_EXPORT void force_kernel_level(const std::string& level);

}  // namespace instructblip
