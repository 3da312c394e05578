// The number of threads and the parallel loop.
#pragma once

#include <functional>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

/// Threads used by a call, including the caller's own. Default: the environment variable
/// INSTRUCTBLIP_NUM_THREADS (throws InputError unless it is a positive number), otherwise the
/// number of processors available to this process, by its affinity and by its container's CPU
/// quota. If the system refuses to start so many, it is the number that could be started, and a
/// warning is logged. Results do not depend on it.
INSTRUCTBLIP_EXPORT int num_threads();

/// Sets the number of threads for the whole process. Throws InputError if `count` < 1. Must not be
/// called while another thread is inside the library.
INSTRUCTBLIP_EXPORT void set_num_threads(int count);

/// Worker threads are shared by all callers and wait while there is nothing to do. They block the
/// signals that an application handles (SIGINT, ...). A forked process starts its own on first use.
/// A process may end, and a plug-in be unloaded, while they exist.
///
/// Calls body(begin, end) on disjoint ranges that cover [0, count), and returns when all are done.
/// There is one range per thread, but at most ceil(count / grain) of them; their lengths are nearly
/// equal. The split is static: range i goes to thread i. Runs on the calling thread alone if the
/// work is small, inside another parallel_for, or while another caller uses the pool. Every range
/// is computed in the caller's floating-point mode (rounding, flushing to zero). The first
/// exception thrown by `body` is rethrown here. `body` must not fork.
INSTRUCTBLIP_EXPORT void parallel_for(Index count, Index grain,
                                      const std::function<void(Index begin, Index end)>& body);

}  // namespace instructblip
