#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/cpu_quota.h"
#include "instructblip/core/error.h"
#include "instructblip/core/threads.h"

namespace instructblip {
namespace {

thread_local bool inside_parallel_for = false;

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
  int count = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) count = CPU_COUNT(&set);
  // More threads than a container's quota would take turns.
  if (const auto quota = cpu_quota()) count = std::min(count, *quota);
#endif
  return std::max(1, count);
}

// Workers wait until the job number changes; worker i always takes range i + 1.
class ThreadPool {
 public:
  explicit ThreadPool(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  }

  ~ThreadPool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    start_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // False if another caller is using the pool.
  bool try_run(Index count, Index parts, const std::function<void(Index, Index)>& body) {
    std::unique_lock owner(owner_, std::try_to_lock);
    if (!owner.owns_lock()) return false;
    {
      std::lock_guard lock(mutex_);
      body_ = &body;
      count_ = count;
      parts_ = parts;
      pending_ = static_cast<int>(workers_.size());
      error_ = nullptr;
      ++job_;
    }
    start_.notify_all();
    run_part(0);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return pending_ == 0; });
    if (error_) std::rethrow_exception(error_);
    return true;
  }

 private:
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

  void work(int index) {
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    while (true) {
      start_.wait(lock, [&] { return stop_ || job_ != seen; });
      if (stop_) return;
      seen = job_;
      lock.unlock();
      run_part(index);
      lock.lock();
      if (--pending_ == 0) done_.notify_one();
    }
  }

  std::vector<std::thread> workers_;
  std::mutex owner_;
  std::mutex mutex_;
  std::condition_variable start_, done_;
  const std::function<void(Index, Index)>* body_ = nullptr;
  Index count_ = 0, parts_ = 0;
  int pending_ = 0;
  std::uint64_t job_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;
};

std::mutex pool_mutex;

std::shared_ptr<ThreadPool>& pool_slot() {
  static std::shared_ptr<ThreadPool> slot;
  return slot;
}

std::shared_ptr<ThreadPool> pool() {
  std::lock_guard lock(pool_mutex);
  auto& slot = pool_slot();
  if (!slot) slot = std::make_shared<ThreadPool>(default_num_threads());
  return slot;
}

}  // namespace

int num_threads() { return pool()->size(); }

void set_num_threads(int count) {
  if (count < 1)
    throw InputError("set_num_threads(" + std::to_string(count) + "): expected at least 1");
  std::lock_guard lock(pool_mutex);
  auto& slot = pool_slot();
  if (!slot || slot->size() != count) slot = std::make_shared<ThreadPool>(count);
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
