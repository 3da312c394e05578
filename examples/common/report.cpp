#include "report.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>

namespace examples {
namespace {

std::string formatted(const char* format, double value) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// Three digits.
std::string rounded(double value) {
  return formatted(value < 10 ? "%.2f" : value < 100 ? "%.1f" : "%.0f", value);
}

}  // namespace

std::string scaled(double value, const char* unit) {
  const char* const prefixes[] = {"", "k", "M", "G", "T"};
  int step = 0;
  for (; value >= 1000 && step < 4; ++step) value /= 1000;
  return formatted(step == 0 ? "%.0f" : "%.2f", value) + " " + prefixes[step] + unit;
}

std::string in_seconds(double seconds) {
  if (seconds < 1) return rounded(seconds * 1000) + " ms";
  if (seconds < 60) return rounded(seconds) + " s";
  return in_whole_seconds(seconds);
}

std::string in_whole_seconds(double seconds) {
  const long whole = std::lround(seconds);
  const auto pair = [](long large, const char* unit, long small, const char* part) {
    return std::to_string(large) + " " + unit + " " + std::to_string(small) + " " + part;
  };
  if (whole < 60) return std::to_string(whole) + " s";
  if (whole < 3600) return pair(whole / 60, "min", whole % 60, "s");
  return pair(whole / 3600, "h", whole / 60 % 60, "min");
}

std::string per_second(double rate, const std::string& noun) {
  return rounded(rate) + " " + noun + "/s";
}

std::string counted(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string bar(double fraction) {
  constexpr std::size_t kWidth = 20;
  const auto done = static_cast<std::size_t>(std::clamp(fraction, 0.0, 1.0) * double{kWidth});
  return "[" + std::string(done, '#') + std::string(kWidth - done, '-') + "]" +
         formatted(" %3.0f %%", 100 * fraction);
}

std::string progress_text(std::size_t done, std::size_t total, const std::string& noun,
                          double seconds) {
  const auto part = static_cast<double>(done), whole = static_cast<double>(total);
  return bar(part / whole) + " of " + counted(total, noun) + ", " +
         per_second(part / seconds, noun + "s") + ", " +
         in_whole_seconds((whole - part) * seconds / part) + " left";
}

void print_timing(const std::string& part, const std::string& text) {
  std::cout.flush();
  std::fprintf(stderr, "%-8s %s\n", part.c_str(), text.c_str());
}

double peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

StatusLine::StatusLine(bool is_wanted) : is_wanted_(is_wanted && isatty(STDERR_FILENO) != 0) {}

void StatusLine::show(const std::string& text) {
  if (!is_wanted_ || (is_shown_ && since_shown_.seconds() < 0.1)) return;
  std::fprintf(stderr, "\r%s\033[K", text.c_str());
  is_shown_ = true;
  since_shown_ = Stopwatch();
}

void StatusLine::clear() {
  if (is_shown_) std::fprintf(stderr, "\r\033[K");
  is_shown_ = false;
}

}  // namespace examples
