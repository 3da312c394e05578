// Messages to the program: the library never writes to stdout or stderr.
#pragma once

#include <functional>
#include <string_view>

#include "instructblip/core/export.h"

namespace instructblip {

/// From the least to the most important. The library itself sends warnings alone: what does not
/// stop a call is a warning, what does is an exception.
enum class LogLevel { Debug, Info, Warning, Error };

using LogCallback = std::function<void(LogLevel, std::string_view message)>;

/// Sets who receives messages at `minimum` or above; an empty callback silences the library (the
/// default). Returns the callback that was set before. Thread-safe; the callback runs on the thread
/// that logs.
INSTRUCTBLIP_EXPORT LogCallback set_log_callback(LogCallback callback,
                                                 LogLevel minimum = LogLevel::Warning);

/// Sends one message to the callback, if its level is wanted. Thread-safe.
INSTRUCTBLIP_EXPORT void log(LogLevel level, std::string_view message);

inline void log_warning(std::string_view message) { log(LogLevel::Warning, message); }

}  // namespace instructblip
