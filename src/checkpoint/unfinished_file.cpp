#include "checkpoint/unfinished_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <string>
#include <system_error>
#include <utility>

#include "instructblip/core/error.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;

constexpr const char* kEnding = ".unfinished";

std::string random_digits() {
  std::random_device device;
  std::string digits;
  for (int i = 0; i < 12; ++i) digits += "0123456789abcdef"[device() % 16];
  return digits;
}

bool is_linked(int descriptor) {
  struct stat status {};
  return ::fstat(descriptor, &status) != 0 || status.st_nlink > 0;
}

}  // namespace

UnfinishedFile::UnfinishedFile(fs::path target) : target_(std::move(target)) {
  remove_abandoned();
  do {
    close();
    path_ = target_;
    path_ += "." + random_digits() + kEnding;
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST) fail(errno);
    // The lock tells other writers that this process lives. One that came before the lock has
    // removed the file.
    if (descriptor_ >= 0) static_cast<void>(::flock(descriptor_, LOCK_EX));
  } while (descriptor_ < 0 || !is_linked(descriptor_));
}

UnfinishedFile::~UnfinishedFile() {
  if (descriptor_ >= 0) ::unlink(path_.c_str());
  close();
}

void UnfinishedFile::write(const void* data, std::size_t bytes) {
  constexpr std::size_t kMost = std::size_t{1} << 30;  // Linux writes at most 2 GiB a call
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t count = ::write(descriptor_, from, std::min(bytes, kMost));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(count < 0 ? errno : EIO);
    from += count;
    bytes -= static_cast<std::size_t>(count);
  }
}

void UnfinishedFile::finish() {
  // Without this, a loss of power may leave the name with a part of the contents.
  if (::fsync(descriptor_) != 0 && errno != EINVAL) fail(errno);
  if (::rename(path_.c_str(), target_.c_str()) != 0) fail(errno);
  close();
}

void UnfinishedFile::remove_abandoned() const {
  const std::string beginning = target_.filename().string() + ".";
  std::error_code code;
  const fs::path folder = target_.has_parent_path() ? target_.parent_path() : ".";
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end;
       entry.increment(code)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(beginning) || !name.ends_with(kEnding)) continue;
    const int file = ::open(entry->path().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) continue;
    if (::flock(file, LOCK_EX | LOCK_NB) == 0) ::unlink(entry->path().c_str());
    ::close(file);
  }
}

void UnfinishedFile::close() {
  if (descriptor_ < 0) return;
  // A process forked meanwhile shares the lock.
  static_cast<void>(::flock(descriptor_, LOCK_UN));
  ::close(descriptor_);
  descriptor_ = -1;
}

void UnfinishedFile::fail(int code) {
  if (descriptor_ >= 0) ::unlink(path_.c_str());
  close();
  throw CheckpointError(target_.string() +
                        ": cannot be written: " + std::generic_category().message(code));
}

}  // namespace instructblip
