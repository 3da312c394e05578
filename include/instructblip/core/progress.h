// Progress of a long call.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "instructblip/core/dtype.h"

namespace instructblip {

struct Progress {
  /// The current step: "language_model.model.layers.3".
  std::string stage;
  /// Completed steps out of `total`, or bytes; both are 0 while the total is unknown.
  Index done = 0;
  Index total = 0;

  /// Between 0 and 1.
  double fraction() const {
    return total <= 0 ? 0.0 : static_cast<double>(done) / static_cast<double>(total);
  }
};

/// Called on the calling thread, in ascending order. To cancel the call, throw an exception: it
/// ends the call and reaches the caller.
using ProgressCallback = std::function<void(const Progress&)>;

/// Counts the steps of a call and reports them to a callback, which may be empty.
class ProgressReporter {
 public:
  ProgressReporter(ProgressCallback callback, Index total)
      : callback_(std::move(callback)), progress_{{}, 0, total} {}

  /// Reports `count` more completed steps, the last of which is `stage`.
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
