#include "instructblip/core/log.h"

#include <mutex>
#include <utility>

namespace instructblip {
namespace {

std::mutex log_mutex;
LogCallback current_callback;

}  // namespace

LogCallback set_log_callback(LogCallback callback) {
  std::lock_guard lock(log_mutex);
  return std::exchange(current_callback, std::move(callback));
}

void log_warning(std::string_view message) {
  LogCallback callback;
  {
    // The callback runs outside the lock, so that it may itself log or be replaced.
    std::lock_guard lock(log_mutex);
    callback = current_callback;
  }
  if (callback) callback(message);
}

}  // namespace instructblip
