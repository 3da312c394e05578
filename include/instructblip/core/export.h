// Marks the symbols that programs may link.
#pragma once

/// The library is built with -fvisibility=hidden, so every exported symbol must be marked.
#if defined(_WIN32) || defined(__CYGWIN__)
#define INSTRUCTBLIP_EXPORT
#else
#define INSTRUCTBLIP_EXPORT __attribute__((visibility("default")))
#endif
