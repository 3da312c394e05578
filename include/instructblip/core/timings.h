// Where the time of a call goes: named zones at the granularity of layers, free when nobody
// collects.
//
//   Timings timings;
//   {
//     const CollectTimings collect(timings);
//     model.generate(inputs);
//   }
//   std::cout << timings.to_string();
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

/// All visits of one zone.
struct ZoneTimings {
  std::string name;
  Index count = 0;
  /// Sum over the visits; a zone within another counts in both.
  double seconds = 0;
  double min_seconds = 0;
  double max_seconds = 0;
  double sum_of_squares = 0;  // of the seconds; what standard_deviation is made from

  /// Seconds of one visit; 0 if there was none.
  double mean() const { return count == 0 ? 0 : seconds / static_cast<double>(count); }
  /// Of the visits, not of their mean; 0 for less than two.
  INSTRUCTBLIP_EXPORT double standard_deviation() const;
};

/// A result: zones in the order in which they were first left. Not thread-safe.
class INSTRUCTBLIP_EXPORT Timings {
 public:
  const std::vector<ZoneTimings>& zones() const { return zones_; }
  /// nullptr if the zone was never visited.
  const ZoneTimings* find(std::string_view name) const;
  /// Notes a visit; also for times measured elsewhere.
  void add(std::string_view name, double seconds);
  void add(const Timings& other);
  void clear() { zones_.clear(); }
  /// A table with one line a zone.
  std::string to_string() const;

 private:
  ZoneTimings& zone(std::string_view name);
  std::vector<ZoneTimings> zones_;
};

/// While it lives, zones that this thread enters are noted in `timings`, which must outlive it. The
/// innermost collector of a thread gets them. Other threads are not affected.
class INSTRUCTBLIP_EXPORT CollectTimings {
 public:
  explicit CollectTimings(Timings& timings);
  ~CollectTimings();
  CollectTimings(const CollectTimings&) = delete;
  CollectTimings& operator=(const CollectTimings&) = delete;

 private:
  Timings* outer_;
};

/// One visit: from construction to the end of the scope. `name` must outlive it (a literal).
class INSTRUCTBLIP_EXPORT TimedZone {
 public:
  explicit TimedZone(std::string_view name);
  ~TimedZone();
  TimedZone(const TimedZone&) = delete;
  TimedZone& operator=(const TimedZone&) = delete;

 private:
  Timings* timings_;
  std::string_view name_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace instructblip
