#include "instructblip/core/log.h"

#include <pthread.h>

#include <memory>
#include <mutex>
#include <utility>

#include "core/lasting.h"

namespace instructblip {
namespace {

struct Log {
  std::mutex mutex;
  std::shared_ptr<const LogCallback> callback;
};

constinit Lasting<Log> log_state;

// Another thread may hold the mutex when the process forks; without this it would stay locked in
// the child.
[[maybe_unused]] const int log_fork_handlers =
    pthread_atfork([] { log_state->mutex.lock(); }, [] { log_state->mutex.unlock(); },
                   [] { log_state->mutex.unlock(); });

}  // namespace

LogCallback set_log_callback(LogCallback callback) {
  auto next = std::make_shared<const LogCallback>(std::move(callback));
  {
    std::lock_guard lock(log_state->mutex);
    log_state->callback.swap(next);
  }
  return next ? *next : LogCallback();
}

void log_warning(std::string_view message) {
  std::shared_ptr<const LogCallback> callback;
  {
    // The callback runs outside the lock, so that it may itself log or be replaced.
    std::lock_guard lock(log_state->mutex);
    callback = log_state->callback;
  }
  if (callback && *callback) (*callback)(message);
}

}  // namespace instructblip
