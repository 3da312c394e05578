// Which body of the kernels runs on this machine.
#pragma once

#include <string>
#include <vector>

#include "instructblip/core/export.h"

namespace instructblip {

/// The kernel level in use: "eigen" (the plain one), or a faster one that this machine can run.
/// Chosen once: the environment variable INSTRUCTBLIP_KERNELS, else the best. An unknown or
/// unsupported name throws InputError that lists the levels.
INSTRUCTBLIP_EXPORT std::string kernel_level();

/// The levels that this build has and this machine can run, best first.
INSTRUCTBLIP_EXPORT std::vector<std::string> available_kernel_levels();

/// Switches the whole process to one of them, for tests and comparisons; must not be called while
/// another thread is inside the library.
INSTRUCTBLIP_EXPORT void force_kernel_level(const std::string& level);

}  // namespace instructblip
