// How many threads the library computes with.
#pragma once

#include <functional>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

/// Threads that a call computes with, the caller's own included. Default: the environment variable
/// INSTRUCTBLIP_NUM_THREADS (InputError unless it is a number above 0), else the processors that
/// this process may run on. Results do not depend on it.
INSTRUCTBLIP_EXPORT int num_threads();

/// Sets it for the whole process; `count` < 1 throws InputError. Must not be called while another
/// thread is inside the library.
INSTRUCTBLIP_EXPORT void set_num_threads(int count);

/// Calls body(begin, end) on disjoint ranges that cover [0, count), and returns when all are done:
/// one range a thread, of nearly the same length, but no more of them than count / grain, rounded
/// up. Static split: range i goes to thread i.
/// Runs on the calling thread alone when the work is small, when called from inside another
/// parallel_for, or while another caller has the pool. The first exception thrown by `body` is
/// rethrown here.
INSTRUCTBLIP_EXPORT void parallel_for(Index count, Index grain,
                                      const std::function<void(Index begin, Index end)>& body);

}  // namespace instructblip
