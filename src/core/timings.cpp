#include "instructblip/core/timings.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace instructblip {
namespace {

thread_local Timings* collecting = nullptr;

}  // namespace

double ZoneTimings::standard_deviation() const {
  if (count < 2) return 0;
  const auto n = static_cast<double>(count);
  return std::sqrt(std::max(0.0, (sum_of_squares - seconds * seconds / n) / (n - 1)));
}

const ZoneTimings* Timings::find(std::string_view name) const {
  const auto found = std::find_if(zones_.begin(), zones_.end(),
                                  [&](const ZoneTimings& zone) { return zone.name == name; });
  return found == zones_.end() ? nullptr : &*found;
}

ZoneTimings& Timings::zone(std::string_view name) {
  for (ZoneTimings& zone : zones_) {
    if (zone.name == name) return zone;
  }
  zones_.push_back({.name = std::string(name)});
  return zones_.back();
}

void Timings::add(std::string_view name, double seconds) {
  ZoneTimings& zone = this->zone(name);
  zone.min_seconds = zone.count == 0 ? seconds : std::min(zone.min_seconds, seconds);
  zone.max_seconds = std::max(zone.max_seconds, seconds);
  zone.seconds += seconds;
  zone.sum_of_squares += seconds * seconds;
  ++zone.count;
}

void Timings::add(const Timings& other) {
  for (const ZoneTimings& from : other.zones_) {
    ZoneTimings& zone = this->zone(from.name);
    zone.min_seconds =
        zone.count == 0 ? from.min_seconds : std::min(zone.min_seconds, from.min_seconds);
    zone.max_seconds = std::max(zone.max_seconds, from.max_seconds);
    zone.seconds += from.seconds;
    zone.sum_of_squares += from.sum_of_squares;
    zone.count += from.count;
  }
}

std::string Timings::to_string() const {
  std::size_t width = 4;
  for (const ZoneTimings& zone : zones_) width = std::max(width, zone.name.size());
  std::string text;
  for (const ZoneTimings& zone : zones_) {
    char numbers[128];
    std::snprintf(numbers, sizeof(numbers), "%6td x %10.3f ms +- %8.3f  %10.3f ms\n", zone.count,
                  zone.mean() * 1e3, zone.standard_deviation() * 1e3, zone.seconds * 1e3);
    text += zone.name + std::string(width - zone.name.size() + 2, ' ') + numbers;
  }
  return text;
}

CollectTimings::CollectTimings(Timings& timings) : outer_(collecting) { collecting = &timings; }

CollectTimings::~CollectTimings() { collecting = outer_; }

TimedZone::TimedZone(std::string_view name) : timings_(collecting), name_(name) {
  if (timings_ != nullptr) start_ = std::chrono::steady_clock::now();
}

TimedZone::~TimedZone() {
  if (timings_ == nullptr) return;
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start_;
  timings_->add(name_, time.count());
}

}  // namespace instructblip
