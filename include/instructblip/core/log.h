// Warnings to the program: the library never writes to stdout or stderr.
#pragma once

#include <functional>
#include <string_view>

#include "instructblip/core/export.h"

namespace instructblip {

/// Receives a warning: something that does not stop a call. What does is an exception.
using LogCallback = std::function<void(std::string_view message)>;

/// Sets the receiver of warnings; an empty callback silences the library (the default). Returns the
/// previous callback. Thread-safe; the callback runs on the thread that logs.
INSTRUCTBLIP_EXPORT LogCallback set_log_callback(LogCallback callback);

/// Sends one warning to the callback. Thread-safe.
INSTRUCTBLIP_EXPORT void log_warning(std::string_view message);

}  // namespace instructblip
