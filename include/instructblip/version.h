// The library's version and build.
#pragma once

#include <string>

#include "instructblip/core/export.h"

#define INSTRUCTBLIP_VERSION_MAJOR 0
#define INSTRUCTBLIP_VERSION_MINOR 1
#define INSTRUCTBLIP_VERSION_PATCH 0
#define INSTRUCTBLIP_VERSION "0.1.0"

namespace instructblip {

/// The version of the library that the program is linked with, such as "0.1.0".
/// INSTRUCTBLIP_VERSION is the version of the headers.
INSTRUCTBLIP_EXPORT std::string version();

/// One line to paste into a bug report: version, compiler, kernel level, number of threads, JPEG
/// decoder.
INSTRUCTBLIP_EXPORT std::string build_info();

}  // namespace instructblip
