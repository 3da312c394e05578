// Which symbols a program may link.
#pragma once

/// The library is built with -fvisibility=hidden; what a program may link says so.
#if defined(_WIN32) || defined(__CYGWIN__)
#define INSTRUCTBLIP_EXPORT
#else
#define INSTRUCTBLIP_EXPORT __attribute__((visibility("default")))
#endif
