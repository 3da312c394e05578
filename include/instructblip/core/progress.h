// How far a long call has come.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "instructblip/core/dtype.h"

namespace instructblip {

struct Progress {
  /// What is being done: "language_model.model.layers.3".
  std::string stage;
  /// Steps done, of `total`; 0 of 0 while the total is unknown.
  Index done = 0;
  Index total = 0;

  /// From 0 to 1.
  double fraction() const {
    return total <= 0 ? 0.0 : static_cast<double>(done) / static_cast<double>(total);
  }
};

/// Called on the thread that made the call, in ascending order. An exception that it throws ends
/// the call and reaches the caller: the way to cancel.
using ProgressCallback = std::function<void(const Progress&)>;

/// Counts the steps of a call and tells a callback, which may be empty.
class ProgressReporter {
 public:
  ProgressReporter(ProgressCallback callback, Index total)
      : callback_(std::move(callback)), progress_{{}, 0, total} {}

  /// `count` more steps are done, the last of them `stage`.
  void advance(std::string stage, Index count = 1) {
    progress_.stage = std::move(stage);
    progress_.done += count;
    if (callback_) callback_(progress_);
  }

 private:
  ProgressCallback callback_;
  Progress progress_;
};

}  // namespace instructblip
