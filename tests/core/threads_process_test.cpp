// The thread pool in processes that fork, end, or may not start more threads.
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <thread>

#include "instructblip/core/log.h"
#include "instructblip/core/threads.h"
#include "support/child_process.h"
#include "support/log_capture.h"

namespace instructblip {
namespace {

using testing::in_child_process;

const std::string kFine = "exited with 0";
#if defined(__SANITIZE_ADDRESS__)
constexpr int kRepeats = 60;  // each search for leaks at an exit takes time
#else
constexpr int kRepeats = 300;
#endif

// Whether a loop visits every index once.
bool loops(Index count = 1000) {
  std::atomic<Index> sum = 0;
  parallel_for(count, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) sum += i;
  });
  return sum == count * (count - 1) / 2;
}

int threads_of_this_process() {
  int count = 0;
  DIR* folder = opendir("/proc/self/task");
  while (const dirent* entry = readdir(folder)) count += entry->d_name[0] != '.';
  closedir(folder);
  return count;
}

// A thread that was joined may be listed for a moment.
bool number_of_threads_becomes(int count) {
  for (int i = 0; i < 1000 && threads_of_this_process() != count; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return threads_of_this_process() == count;
}

// Sets the number of threads during a test and waits until they have started: a starting thread may
// hold a lock of a sanitizer's allocator, which a fork would copy.
struct ThreadCount {
  explicit ThreadCount(int count) {
    set_num_threads(count);
    loops();
  }
  ~ThreadCount() { set_num_threads(before); }
  const int before = num_threads();
};

// Threads that use the pool and the log all the time.
class Noise {
 public:
  explicit Noise(int count) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this] {
        while (!stop_) {
          loops();
          log_warning("still here");
        }
      });
    }
  }
  ~Noise() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> threads_;
};

TEST(ThreadsProcessTest, AForkedProcessStartsThreadsOfItsOwn) {
  const ThreadCount three(3);
  ASSERT_TRUE(loops());
  EXPECT_EQ(in_child_process([] {
              const int before = threads_of_this_process();  // an emulator has one of its own
              if (!loops()) return 1;
              return num_threads() == 3 && threads_of_this_process() == before + 2 ? 0 : 2;
            }),
            kFine);
  EXPECT_EQ(in_child_process([] {
              for (const int count : {1, 4, 2}) {
                set_num_threads(count);
                if (!loops() || num_threads() != count) return 1;
              }
              return 0;
            }),
            kFine);
  EXPECT_TRUE(loops());
}

TEST(ThreadsProcessTest, AChildOfAChildStartsThreadsOfItsOwn) {
  const ThreadCount three(3);
  const auto grandchild = [] {
    const int before = threads_of_this_process();
    return loops() && threads_of_this_process() == before + 2 ? 0 : 1;
  };
  for (const bool used_between : {false, true}) {
    EXPECT_EQ(in_child_process([&] {
                if (used_between && !loops()) return 1;
                if (in_child_process(grandchild) != kFine) return 2;
                return loops() ? 0 : 3;
              }),
              kFine);
  }
}

TEST(ThreadsProcessTest, AForkWhileOtherThreadsAreInTheLibraryLeavesItUsable) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "a fork may copy a lock of this sanitizer's allocator that another thread holds";
#endif
  const ThreadCount three(3);
  const LogCallback before = set_log_callback([](std::string_view) {});
  {
    const Noise noise(2);
    for (int i = 0; i < kRepeats; ++i) {
      ASSERT_EQ(in_child_process([] {
                  log_warning("in the child");
                  return loops() && loops() ? 0 : 1;
                }),
                kFine)
          << i;
    }
  }
  set_log_callback(before);
}

// In each child another thread uses the pool when the process ends.
TEST(ThreadsProcessTest, AProcessEndsWhileAnotherThreadUsesThePool) {
  const ThreadCount three(3);
  for (int i = 0; i < kRepeats; ++i) {
    ASSERT_EQ(in_child_process([i]() -> int {
                set_log_callback([](std::string_view) {});
                std::thread([] {
                  while (true) {
                    loops(64);
                    log_warning("still here");
                  }
                }).detach();
                std::this_thread::sleep_for(std::chrono::microseconds(i * 10));
                if (i % 5 == 4) std::quick_exit(0);
                std::exit(0);
              }),
              kFine)
        << i;
  }
}

// A program's own static objects may use the library after the pool has been closed.
TEST(ThreadsProcessTest, TheLibraryCanBeUsedWhileStaticObjectsAreDestroyed) {
  EXPECT_EQ(in_child_process([]() -> int {
              set_num_threads(3);
              loops();
              std::atexit([] {
                if (!loops()) _exit(1);
              });
              std::exit(0);
            }),
            kFine);
}

TEST(ThreadsProcessTest, EndsFromInsideALoop) {
  const ThreadCount three(3);
  for (int i = 0; i < kRepeats; ++i) {
    ASSERT_EQ(in_child_process([i]() -> int {
                parallel_for(3, 1, [i](Index begin, Index) {
                  if (begin == i % 3) std::exit(0);
                });
                return 1;
              }),
              kFine)
        << i;
  }
}

TEST(ThreadsProcessTest, APlugInThatHoldsThePoolCanBeUnloaded) {
  EXPECT_EQ(in_child_process([] {
              const int before = threads_of_this_process();
              for (int i = 0; i < 20; ++i) {
                void* plugin = dlopen(INSTRUCTBLIP_TEST_PLUGIN, RTLD_NOW | RTLD_LOCAL);
                if (plugin == nullptr) return 1;
                const auto sum = reinterpret_cast<int (*)(int)>(dlsym(plugin, "sum_in_plugin"));
                if (sum == nullptr || sum(100) != 4950) return 2;
                if (dlclose(plugin) != 0) return 3;
                const bool unloaded = dlopen(INSTRUCTBLIP_TEST_PLUGIN, RTLD_NOLOAD) == nullptr;
                if (unloaded && !number_of_threads_becomes(before)) return 4;
              }
              return 0;
            }),
            kFine);
}

// Lowers a limit for a child process that asks for `count` threads. Returns the number it gets.
int threads_under(int resource, rlim_t limit, int count) {
  const std::string result = in_child_process([=] {
    if (getuid() == 0 && setuid(65534) != 0) return 100;  // root has no limit of processes
    const rlimit limits{limit, limit};
    if (setrlimit(static_cast<decltype(RLIMIT_AS)>(resource), &limits) != 0) return 101;
    std::string warning;
    set_log_callback([&](std::string_view message) { warning += message; });
    set_num_threads(count);
    if (!loops() || !loops()) return 102;
    const std::string expected = "only " + std::to_string(num_threads()) + " of " +
                                 std::to_string(count) + " threads could be started";
    const bool warned = warning.starts_with(expected) &&
                        warning.find("threads could", expected.size()) == std::string::npos;
    if (warned != (num_threads() < count)) return 103;
    set_log_callback({});
    return num_threads();
  });
  return std::stoi(result.substr(result.rfind(' ') + 1));
}

TEST(ThreadsProcessTest, GoesOnWithTheThreadsThatCouldBeStarted) {
  EXPECT_EQ(threads_under(RLIMIT_NPROC, 1, 8), 1);
  for (const int limit : {2, 4}) {
    const int threads = threads_under(RLIMIT_NPROC, static_cast<rlim_t>(limit), 8);
    EXPECT_GE(threads, 1);
    EXPECT_LE(threads, limit);
  }
  EXPECT_EQ(threads_under(RLIMIT_NOFILE, 64, 3), 3);
}

#if !defined(__SANITIZE_ADDRESS__)  // it reserves more than any limit
TEST(ThreadsProcessTest, GoesOnIfThereIsNoMemoryForMoreStacks) {
  if (INSTRUCTBLIP_TEST_IN_EMULATOR) GTEST_SKIP() << "there is no limit of memory there";
  const int threads = threads_under(RLIMIT_AS, rlim_t{600} << 20, 99);
  EXPECT_GE(threads, 2);
  EXPECT_LT(threads, 99);
}
#endif

TEST(ThreadsProcessTest, WorkersHaveRoomOnTheirStacksUnderASmallLimit) {
  EXPECT_EQ(in_child_process([] {
              pthread_attr_t attributes;
              pthread_attr_init(&attributes);
              const auto small = std::max<std::size_t>(64 << 10, to_size(PTHREAD_STACK_MIN));
              if (pthread_attr_setstacksize(&attributes, small) != 0) return 1;
              if (pthread_setattr_default_np(&attributes) != 0) return 2;
              set_num_threads(3);
              parallel_for(3, 1, [](Index begin, Index) {
                volatile char room[512 << 10];
                room[0] = static_cast<char>(begin);
                room[sizeof(room) - 1] = room[0];
              });
              return 0;
            }),
            kFine);
}

std::atomic<int> signals_in_other_threads = 0, signals_here = 0;
thread_local bool is_application_thread = false;

TEST(ThreadsProcessTest, SignalsReachTheApplicationsThreads) {
  EXPECT_EQ(in_child_process([] {
              is_application_thread = true;
              set_num_threads(4);
              loops();
              const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD, SIGWINCH};
              sigset_t blocked;
              sigemptyset(&blocked);
              for (const int number : signals) {
                signal(number, [](int) {
                  ++(is_application_thread ? signals_here : signals_in_other_threads);
                });
                sigaddset(&blocked, number);
              }
              pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
              for (const int number : signals) kill(getpid(), number);
              loops();
              std::this_thread::sleep_for(std::chrono::milliseconds(20));
              if (signals_in_other_threads != 0 || signals_here != 0) return 1;
              pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
              return signals_here == 6 ? 0 : 2;
            }),
            kFine);
}

}  // namespace
}  // namespace instructblip
