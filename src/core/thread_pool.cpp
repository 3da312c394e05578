#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "core/cpu_quota.h"
#include "core/lasting.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "instructblip/core/threads.h"

namespace instructblip {
namespace {

thread_local bool inside_parallel_for = false;

int available_cpus() {
  int count = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) count = CPU_COUNT(&set);
  // More threads than a container's quota would take turns.
  if (const auto quota = cpu_quota()) count = std::min(count, *quota);
#endif
  return std::max(1, count);
}

int default_num_threads() {
  if (const char* text = std::getenv("INSTRUCTBLIP_NUM_THREADS")) {
    const std::string_view digits = text;
    int count = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
    if (error != std::errc() || end != digits.data() + digits.size() || count < 1) {
      throw InputError("INSTRUCTBLIP_NUM_THREADS is \"" + std::string(text) +
                       "\", expected a positive number");
    }
    return count;
  }
  return available_cpus();
}

// Blocks the signals that an application's handlers wait for, so that they arrive at its own
// threads. Left are those that a thread causes itself, and the ticks of profilers.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int own : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGPROF}) {
      sigdelset(&blocked, own);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

// Waits for a short time without sleeping: waking a thread up may take longer than the next job,
// of which a token has hundreds.
template <class Condition>
void spin_until(const Condition& condition) {
  constexpr std::chrono::microseconds kLongest{50};
  const auto end = std::chrono::steady_clock::now() + kLongest;
  do {
    for (int i = 0; i < 16; ++i) {
      if (condition()) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    }
  } while (std::chrono::steady_clock::now() < end);
}

// Workers wait until the job number changes; worker i always takes range i.
class ThreadPool {
 public:
  // Makes fewer workers if the system refuses more.
  explicit ThreadPool(int threads) : asked_(threads), spins_(threads <= available_cpus()) {
    workers_.reserve(static_cast<std::size_t>(threads) - 1);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    // The default is the process's limit on stacks, which may be small.
    std::size_t stack_bytes = 0;
    pthread_attr_getstacksize(&attributes, &stack_bytes);
    pthread_attr_setstacksize(&attributes, std::max(stack_bytes, kSmallestStack));
    const BlockedSignals blocked;
    for (int i = 1; i < threads && failure_ == 0; ++i) {
      pthread_t worker;
      failure_ = pthread_create(&worker, &attributes, &ThreadPool::start_worker, this);
      if (failure_ == 0) workers_.push_back(worker);
    }
    pthread_attr_destroy(&attributes);
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  ~ThreadPool() { close(); }

  // Keeps the pool of the parent process, which cannot be destroyed: its workers do not exist here,
  // and its mutex may be locked.
  void keep(std::shared_ptr<ThreadPool> parents) { parents_ = std::move(parents); }

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Empty if all threads could be made.
  std::string warning() const {
    if (failure_ == 0) return {};
    return "only " + std::to_string(size()) + " of " + std::to_string(asked_) +
           " threads could be started (" + std::strerror(failure_) +
           "); the library goes on with these. Raise the limits on threads and memory, or ask for "
           "fewer threads (INSTRUCTBLIP_NUM_THREADS)";
  }

  // Ends the workers, unless a caller is using them. Later jobs are not taken.
  void close() {
    if (busy_.test_and_set(std::memory_order_acquire)) return;
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    start_.notify_all();
    for (const pthread_t worker : workers_) pthread_join(worker, nullptr);
  }

  // False if another caller is using the pool, or if it is closed.
  bool try_run(Index count, Index parts, const std::function<void(Index, Index)>& body) {
    if (busy_.test_and_set(std::memory_order_acquire)) return false;
    std::exception_ptr error;
    {
      std::lock_guard lock(mutex_);
      body_ = &body;
      count_ = count;
      parts_ = parts;
      pending_ = static_cast<int>(workers_.size());
      std::fegetenv(&arithmetic_);
      ++job_;
    }
    start_.notify_all();
    run_part(0);
    if (spins_) spin_until([this] { return pending_ == 0; });
    {
      std::unique_lock lock(mutex_);
      done_.wait(lock, [this] { return pending_ == 0; });
      error = std::exchange(error_, nullptr);
    }
    busy_.clear(std::memory_order_release);
    if (error) std::rethrow_exception(error);
    return true;
  }

 private:
  static constexpr std::size_t kSmallestStack = std::size_t{1} << 20;

  static void* start_worker(void* pool) {
    static_cast<ThreadPool*>(pool)->work();
    return nullptr;
  }

  void run_part(Index part) {
    if (part >= parts_) return;
    inside_parallel_for = true;
    try {
      (*body_)(count_ * part / parts_, count_ * (part + 1) / parts_);
    } catch (...) {
      std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
    inside_parallel_for = false;
  }

  void work() {
    std::unique_lock lock(mutex_);
    const int index = ++started_;
    std::uint64_t seen = 0;
    while (true) {
      start_.wait(lock, [&] { return stop_ || job_ != seen; });
      if (stop_) return;
      seen = job_;
      // Rounding and flushing to zero are the caller's: the result must not depend on the thread.
      std::fesetenv(&arithmetic_);
      lock.unlock();
      run_part(index);
      lock.lock();
      if (--pending_ == 0) done_.notify_one();
      if (!spins_) continue;
      lock.unlock();
      spin_until([&] { return job_ != seen; });
      lock.lock();
    }
  }

  const int asked_;
  const bool spins_;  // no other thread of the pool needs the CPU
  int failure_ = 0;   // an errno value
  std::shared_ptr<ThreadPool> parents_;
  std::vector<pthread_t> workers_;
  std::atomic_flag busy_;
  std::mutex mutex_;
  std::condition_variable start_, done_;
  const std::function<void(Index, Index)>* body_ = nullptr;
  Index count_ = 0, parts_ = 0;
  std::fenv_t arithmetic_{};
  int started_ = 0;
  // Changed under the mutex.
  std::atomic<int> pending_ = 0;
  std::atomic<std::uint64_t> job_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;
};

struct Threads {
  std::mutex mutex;
  std::optional<int> asked;  // by set_num_threads
  std::shared_ptr<ThreadPool> pool;
  std::shared_ptr<ThreadPool> parents_pool;  // if this process was forked
};

constinit Lasting<Threads> state;

void start_anew_in_the_child() {
  if (state->pool) {
    state->pool->keep(std::move(state->parents_pool));
    state->parents_pool = std::move(state->pool);
  }
  state->mutex.unlock();
}

[[maybe_unused]] const int pool_fork_handlers = pthread_atfork(
    [] { state->mutex.lock(); }, [] { state->mutex.unlock(); }, start_anew_in_the_child);

// When the process ends or a plug-in is unloaded. In the first case another thread may still use
// the pool, which then stays; and a signal handler that calls exit may have interrupted `pool`.
struct CloseAtExit {
  ~CloseAtExit() {
    const std::unique_lock lock(state->mutex, std::try_to_lock);
    if (lock.owns_lock() && state->pool) state->pool->close();
  }
} close_at_exit;

std::shared_ptr<ThreadPool> pool(std::optional<int> asked = std::nullopt) {
  std::shared_ptr<ThreadPool> current, replaced;
  std::string warning;
  {
    std::lock_guard lock(state->mutex);
    if (asked) state->asked = asked;
    if (!state->pool || (asked && state->pool->size() != *asked)) {
      replaced = std::move(state->pool);
      state->pool =
          std::make_shared<ThreadPool>(state->asked ? *state->asked : default_num_threads());
      warning = state->pool->warning();
    }
    current = state->pool;
  }
  if (!warning.empty()) log_warning(warning);
  return current;
}

}  // namespace

int num_threads() { return pool()->size(); }

void set_num_threads(int count) {
  if (count < 1)
    throw InputError("set_num_threads(" + std::to_string(count) + "): expected at least 1");
  pool(count);
}

void parallel_for(Index count, Index grain, const std::function<void(Index, Index)>& body) {
  if (count <= 0) return;
  if (!inside_parallel_for && count > grain) {
    const std::shared_ptr<ThreadPool> threads = pool();
    const Index parts =
        std::min<Index>(threads->size(), (count + grain - 1) / std::max<Index>(1, grain));
    if (parts > 1 && threads->try_run(count, parts, body)) return;
  }
  body(0, count);
}

}  // namespace instructblip
