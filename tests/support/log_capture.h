// LogCapture collects the library's log messages during its lifetime.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/core/log.h"

namespace instructblip::testing {

class LogCapture {
 public:
  LogCapture()
      : previous_(set_log_callback(
            [this](std::string_view message) { messages_.emplace_back(message); })) {}
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;
  ~LogCapture() { set_log_callback(previous_); }

  const std::vector<std::string>& messages() const { return messages_; }
  bool contains(std::string_view text) const {
    return std::any_of(messages_.begin(), messages_.end(), [&](const std::string& message) {
      return message.find(text) != std::string::npos;
    });
  }

 private:
  std::vector<std::string> messages_;
  LogCallback previous_;
};

}  // namespace instructblip::testing
