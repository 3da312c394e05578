// The program `chat` at a terminal: editing, history, completion, Ctrl-C and Ctrl-D.
#ifdef INSTRUCTBLIP_CHAT

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "end_to_end/demo_files.h"
#include "support/temporary_folder.h"

namespace instructblip::testing {
namespace {

constexpr const char* kPrompt = "> ";
constexpr const char* kUp = "\x1b[A";
constexpr const char* kLeft = "\x1b[D";
constexpr const char* kCtrlC = "\x03";
constexpr const char* kCtrlD = "\x04";
const std::string kCtrlSpace(1, '\0');

std::filesystem::path picture() { return kAssets / "scene.png"; }

// A chat with the demo model that believes to be at a terminal.
class Chat {
 public:
  explicit Chat(const std::filesystem::path& home, std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.begin(),
                     {INSTRUCTBLIP_CHAT, "--model", demo_folder("llama").string(), "--image",
                      picture().string()});
    process_ = ::forkpty(&terminal_, nullptr, nullptr, nullptr);
    if (process_ < 0) throw std::runtime_error("there is no pseudo-terminal");
    if (process_ > 0) return;
    ::setenv("HOME", home.c_str(), 1);
    ::setenv("TERM", "xterm", 1);
    ::setenv("LC_ALL", "C.UTF-8", 1);
    ::unsetenv("XDG_STATE_HOME");
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    ::execv(INSTRUCTBLIP_CHAT, pointers.data());
    ::_exit(127);
  }
  Chat(const Chat&) = delete;
  Chat& operator=(const Chat&) = delete;
  ~Chat() {
    ::close(terminal_);
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }

  void type(const std::string& keys) {
    ASSERT_EQ(::write(terminal_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }

  // Waits until the program has written `text` since the last call.
  void expect(const std::string& text) {
    while (written_.find(text) == std::string::npos) {
      if (!read_more()) {
        FAIL() << "expected " << text << ", found: " << written_;
      }
    }
    written_.erase(0, written_.find(text) + text.size());
  }

  // The status of waitpid.
  int wait_for_end() {
    while (read_more()) {
    }
    int status = -1;
    ::waitpid(process_, &status, 0);
    process_ = 0;
    return status;
  }

 private:
  bool read_more() {
    constexpr int kMilliseconds = 60'000;
    pollfd request{terminal_, POLLIN, 0};
    char bytes[1024];
    if (::poll(&request, 1, kMilliseconds) <= 0) {
      ::kill(process_, SIGKILL);  // it hangs
      return false;
    }
    const ssize_t count = ::read(terminal_, bytes, sizeof bytes);
    if (count > 0) written_.append(bytes, static_cast<std::size_t>(count));
    return count > 0;
  }

  pid_t process_ = 0;
  int terminal_ = -1;
  std::string written_;
};

TEST(ChatTerminal, LinesAreEditedAndRecalled) {
  const TemporaryFolder home;
  {
    Chat chat(home.path());
    chat.expect("scene.png, 320 x 320");
    chat.expect(kPrompt);
    chat.type("what colour is the rig?" + std::string(kLeft) + kLeft + "n\n");
    chat.expect("  red");
    chat.expect(kPrompt);
    chat.type("how many red objects are there?\n");
    chat.expect("  two");
    chat.expect(kPrompt);
    chat.type(std::string(kUp) + kUp + "\n");
    chat.expect("  red");
    chat.expect(kPrompt);
    chat.type(kCtrlD);
    const int status = chat.wait_for_end();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  Chat later(home.path());
  later.expect(kPrompt);
  later.type(std::string(kUp) + kUp + "\n");
  // Not the question itself: it is drawn over the later one, in pieces.
  later.expect("  two");
}

TEST(ChatTerminal, CtrlDDuringAnAnswerEndsTheProgram) {
  const TemporaryFolder home;
  Chat chat(home.path(), {"--min-new-tokens", "500", "--max-new-tokens", "500", "--quiet"});
  chat.expect(kPrompt);
  chat.type("what colour is the ring?\n");
  chat.expect("  red");
  chat.type(kCtrlD);
  const int status = chat.wait_for_end();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(ChatTerminal, CtrlSpaceIsNotCtrlD) {
  const TemporaryFolder home;
  Chat chat(home.path());
  chat.expect(kPrompt);
  chat.type(kCtrlSpace + "what colour is the ring?\n");
  chat.expect("  red");
}

TEST(ChatTerminal, TabCompletesCommandsAndFiles) {
  const TemporaryFolder home;
  std::filesystem::copy(picture(), home.path() / "own picture.png");
  Chat chat(home.path());
  chat.expect(kPrompt);
  chat.type("/im\t" + picture().parent_path().string() + "/sce\t\n");
  chat.expect("scene.png, 320 x 320");
  chat.expect(kPrompt);
  for (const char* name : {"\"~/own picture.png\"", "~/own picture.png", "~/'own picture.png'"}) {
    chat.type("/image " + std::string(name) + "\n");
    chat.expect("own picture.png, 320 x 320");
    chat.expect(kPrompt);
  }
}

TEST(ChatTerminal, CtrlCEndsAnAnswerAndAtThePromptTheProgram) {
  const TemporaryFolder home;
  Chat chat(home.path(), {"--min-new-tokens", "1000000", "--max-new-tokens", "1000000", "--quiet"});
  chat.expect(kPrompt);
  chat.type("what colour is the ring?\n");
  chat.expect("  red");
  chat.type(kCtrlC);
  chat.expect(kPrompt);
  chat.type("/help\n");
  chat.expect("/image FILE");
  chat.expect(kPrompt);
  chat.type(kCtrlC);
  const int status = chat.wait_for_end();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) << status;
}

}  // namespace
}  // namespace instructblip::testing

#endif
