// A plug-in that contains the thread pool. threads_process_test.cpp loads and unloads it.
#include <atomic>

#include "instructblip/core/threads.h"

extern "C" __attribute__((visibility("default"))) int sum_in_plugin(int count) {
  instructblip::set_num_threads(3);
  std::atomic<int> sum = 0;
  instructblip::parallel_for(count, 1, [&](instructblip::Index begin, instructblip::Index end) {
    for (instructblip::Index i = begin; i < end; ++i) sum += static_cast<int>(i);
  });
  return sum;
}
