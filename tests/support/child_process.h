// Runs code in a forked process, for what ends or changes a process.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <functional>
#include <string>

namespace instructblip::testing {

inline bool is_child_process = false;

/// Runs `body` in a forked process, whose exit code is the value that it returns, or 99 after an
/// exception. Returns "exited with 0", or "ended by signal 14", the latter also if it takes more
/// than `seconds`.
inline std::string in_child_process(const std::function<int()>& body, unsigned seconds = 60) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    is_child_process = true;
    alarm(seconds);
    try {
      _exit(body());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "in a child process: %s\n", error.what());
      _exit(99);
    }
  }
  if (child < 0) return "fork failed";
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? "ended by signal " + std::to_string(WTERMSIG(status))
                             : "exited with " + std::to_string(WEXITSTATUS(status));
}

}  // namespace instructblip::testing

// Asked by LeakSanitizer when a process ends. In a child, the memory of the parent's other threads
// has no owner: they were not forked.
extern "C" inline __attribute__((used)) int __lsan_is_turned_off() {
  return instructblip::testing::is_child_process ? 1 : 0;
}
