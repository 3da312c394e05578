// The library's version and how it was built.
#pragma once

#include <string>

#include "instructblip/core/export.h"

#define INSTRUCTBLIP_VERSION_MAJOR 0
#define INSTRUCTBLIP_VERSION_MINOR 1
#define INSTRUCTBLIP_VERSION_PATCH 0
#define INSTRUCTBLIP_VERSION "0.1.0"

namespace instructblip {

/// The version of the library that the program runs with (INSTRUCTBLIP_VERSION is the headers').
INSTRUCTBLIP_EXPORT std::string version();

/// One line for a bug report: version, compiler, kernel level, threads, JPEG decoder.
INSTRUCTBLIP_EXPORT std::string build_info();

}  // namespace instructblip
