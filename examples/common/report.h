// What the example programs say about their work on stderr: progress and timings.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace examples {

/// Measures the wall-clock time since its construction.
class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// "1.28 kB", "16.10 GB": about three digits for any size.
std::string scaled(double value, const char* unit);
/// "0.85 ms", "12.3 ms", "1.23 s", "2 min 5 s".
std::string in_seconds(double seconds);
/// "5 s", "2 min 5 s", "1 h 2 min".
std::string in_whole_seconds(double seconds);
/// "0.52 pictures/s", "1690 tokens/s".
std::string per_second(double rate, const std::string& noun);
/// "1 step", "2 steps".
std::string counted(std::size_t count, const std::string& noun);
/// "[#####-----]  50 %".
std::string bar(double fraction);

/// "[##--------]  20 % of 10 pictures, 0.52 pictures/s, 5 s left", after so many seconds.
std::string progress_text(std::size_t done, std::size_t total, const std::string& noun,
                          double seconds);

/// Writes one line on stderr, after what stdout was sent so far: "loading   12.3 ms for 7.5 MB".
void print_timing(const std::string& part, const std::string& text);

/// The most memory that the process had at once, with the pages of mapped files that it read.
double peak_resident_bytes();

/// A line on stderr that is rewritten while work goes on. Nothing is written unless stderr is a
/// terminal.
class StatusLine {
 public:
  explicit StatusLine(bool is_wanted);
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;
  ~StatusLine() { clear(); }

  /// Replaces the line, at most ten times a second.
  void show(const std::string& text);
  /// Erases the line, so that something else can be written.
  void clear();

 private:
  bool is_wanted_, is_shown_ = false;
  Stopwatch since_shown_;
};

}  // namespace examples
