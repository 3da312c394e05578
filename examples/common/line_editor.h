// Lines that a user types.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace examples {

/// Reads lines from standard input. On a terminal, and built with libedit, they can be edited and
/// recalled, also from earlier runs ($XDG_STATE_HOME/instructblip/history), and Tab completes
/// commands and names of files.
class LineEditor {
 public:
  explicit LineEditor(std::vector<std::string> commands);

  /// Whether lines are typed on a terminal, not piped.
  bool is_typed() const { return is_typed_; }
  /// The next line, without white space at both ends. False at the end of the input.
  bool next(std::string& line);

 private:
  bool read(std::string& line);
  void remember(const std::string& line);

  bool is_typed_;
  [[maybe_unused]] std::filesystem::path history_;  // empty: not kept
  [[maybe_unused]] std::string last_;
};

/// The words of a line as a shell splits it: quotes, backslashes, ~ and patterns; no commands. A
/// line that is the name of a file is one word, and ~ in quotes stands for the home folder unless
/// there is such a file. Throws InputError on unbalanced quotes.
std::vector<std::filesystem::path> shell_words(const std::string& line);

}  // namespace examples
