// Symbol visibility: the library is built with -fvisibility=hidden, and what a program may link
// says so.
#pragma once

#if defined(_WIN32) || defined(__CYGWIN__)
#define INSTRUCTBLIP_EXPORT
#else
#define INSTRUCTBLIP_EXPORT __attribute__((visibility("default")))
#endif
