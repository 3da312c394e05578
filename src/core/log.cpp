#include "instructblip/core/log.h"

#include <mutex>
#include <utility>

namespace instructblip {
namespace {

std::mutex mutex;
LogCallback current_callback;
LogLevel current_minimum = LogLevel::Warning;

}  // namespace

LogCallback set_log_callback(LogCallback callback, LogLevel minimum) {
  std::lock_guard lock(mutex);
  current_minimum = minimum;
  return std::exchange(current_callback, std::move(callback));
}

void log(LogLevel level, std::string_view message) {
  LogCallback callback;
  {
    // The callback runs outside the lock, so that it may itself log or be replaced.
    std::lock_guard lock(mutex);
    if (!current_callback || level < current_minimum) return;
    callback = current_callback;
  }
  callback(level, message);
}

}  // namespace instructblip
