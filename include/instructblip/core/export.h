// Where definitions are compiled, and which of them a program may link.
#pragma once

/// The library is built with -fvisibility=hidden; what a program may link says so.
#if defined(_WIN32) || defined(__CYGWIN__)
#define INSTRUCTBLIP_EXPORT
#else
#define INSTRUCTBLIP_EXPORT __attribute__((visibility("default")))
#endif

/// Stands before the definitions in *-inl.h, which the library compiles once. A program that
/// defines INSTRUCTBLIP_HEADER_DEFINITIONS in all its files gets them through the headers instead:
/// to try a change in a model without building the library anew, or to step through it.
#ifdef INSTRUCTBLIP_HEADER_DEFINITIONS
#define INSTRUCTBLIP_INLINE inline
#else
#define INSTRUCTBLIP_INLINE
#endif
