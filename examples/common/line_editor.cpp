#include "line_editor.h"

#include <sys/ioctl.h>
#include <unistd.h>
#include <wordexp.h>

#include <CLI/StringTools.hpp>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <system_error>
#include <utility>

#include "instructblip/core/error.h"

#ifdef INSTRUCTBLIP_HAVE_LIBEDIT
#include <editline/readline.h>
#endif

namespace examples {

namespace fs = std::filesystem;

namespace {

constexpr const char* kPrompt = "> ";

#ifdef INSTRUCTBLIP_HAVE_LIBEDIT

constexpr int kMostLines = 1000;

std::vector<std::string>& known_commands() {
  static std::vector<std::string> commands;
  return commands;
}

// libedit asks for one match after the other, beginning with state 0.
char* next_command(const char* text, int state) {
  static std::size_t i = 0;
  if (state == 0) i = 0;
  while (i < known_commands().size()) {
    const std::string& command = known_commands()[i++];
    if (command.starts_with(text)) return ::strdup(command.c_str());
  }
  return nullptr;
}

// A line that begins with / is a command; all else is the name of a file.
char** complete(const char* text, int start, int) {
  return start == 0 ? rl_completion_matches(text, next_command) : nullptr;
}

// Called before the prompt is shown, after which libedit itself would set the terminal to give it
// each key. Of keys that come earlier, the kernel keeps all but Ctrl-D, which it stores as a NUL;
// libedit would ignore that and take the next key literally. A NUL that was not waiting is
// Ctrl-Space, which must not end the program.
int prepare_terminal() {
  rl_prep_terminal(1);
  int waiting = 0;
  ::ioctl(STDIN_FILENO, FIONREAD, &waiting);
  rl_parse_and_bind(waiting > 0 ? "bind ^@ em-delete-or-list" : "bind ^@ em-set-mark");
  return 0;
}

fs::path history_file() {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  if (state != nullptr && *state == '/') return fs::path(state) / "instructblip" / "history";
  if (home == nullptr || *home != '/') return {};
  return fs::path(home) / ".local" / "state" / "instructblip" / "history";
}

#endif

}  // namespace

LineEditor::LineEditor([[maybe_unused]] std::vector<std::string> commands)
    : is_typed_(isatty(STDIN_FILENO) != 0) {
#ifdef INSTRUCTBLIP_HAVE_LIBEDIT
  if (!is_typed_) return;
  std::setlocale(LC_CTYPE, "");  // characters of more than one byte
  known_commands() = std::move(commands);
  rl_readline_name = "instructblip";
  rl_initialize();
  rl_attempted_completion_function = complete;
  rl_pre_input_hook = prepare_terminal;
  stifle_history(kMostLines);
  history_ = history_file();
  if (!history_.empty()) read_history(history_.c_str());
#endif
}

bool LineEditor::next(std::string& line) {
  if (!read(line)) return false;
  line = CLI::detail::trim_copy(line);
  if (!line.empty()) remember(line);
  return true;
}

bool LineEditor::read(std::string& line) {
#ifdef INSTRUCTBLIP_HAVE_LIBEDIT
  if (is_typed_) {
    std::cout.flush();
    const std::unique_ptr<char, decltype(&std::free)> typed(readline(kPrompt), &std::free);
    if (typed != nullptr) line = typed.get();
    return typed != nullptr;
  }
#endif
  if (is_typed_) std::cout << kPrompt << std::flush;
  return static_cast<bool>(std::getline(std::cin, line));
}

void LineEditor::remember([[maybe_unused]] const std::string& line) {
#ifdef INSTRUCTBLIP_HAVE_LIBEDIT
  if (!is_typed_ || line == last_) return;
  last_ = line;
  add_history(line.c_str());
  if (history_.empty()) return;
  std::error_code ignored;  // a history that cannot be kept is no reason to stop
  fs::create_directories(history_.parent_path(), ignored);
  write_history(history_.c_str());  // at once, because Ctrl-C ends the program
#endif
}

namespace {

// A name that is no file's and begins with ~/ lies in the home folder.
fs::path in_home(const std::string& name) {
  std::error_code ignored;
  const char* home = std::getenv("HOME");
  if (home == nullptr || !name.starts_with("~/") || fs::exists(name, ignored)) return name;
  return fs::path(home) / name.substr(2);
}

}  // namespace

std::vector<fs::path> shell_words(const std::string& line) {
  std::error_code ignored;
  if (fs::path file = in_home(line); fs::exists(file, ignored)) return {std::move(file)};
  wordexp_t words{};
  const int error = ::wordexp(line.c_str(), &words, WRDE_NOCMD);
  std::vector<fs::path> paths;
  for (std::size_t i = 0; error == 0 && i < words.we_wordc; ++i) {
    paths.push_back(in_home(words.we_wordv[i]));
  }
  if (error == 0 || error == WRDE_NOSPACE) ::wordfree(&words);
  if (error == 0) return paths;
  throw instructblip::InputError(line + ": not the name of a file; put quotes around names with " +
                                 "spaces or characters that a shell interprets");
}

}  // namespace examples
