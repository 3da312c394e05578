#include "checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include "core/file_kind.h"
#include "core/huge_pages.h"
#include "instructblip/core/error.h"

namespace instructblip {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what, int code) {
  throw CheckpointError(path.string() + ": " + what + ": " + std::generic_category().message(code));
}

}  // namespace

OpenFile::OpenFile(std::filesystem::path path) : path_(std::move(path)) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) {
    const int code = errno;
    if (is_dangling_link(path_)) throw CheckpointError(path_.string() + ": " + missing_file(path_));
    fail(path_, "cannot open", code);
  }
  struct stat status {};
  const bool found = ::fstat(descriptor_, &status) == 0;
  const int code = errno;
  if (found && S_ISREG(status.st_mode)) {
    size_ = static_cast<std::size_t>(status.st_size);
    return;
  }
  ::close(descriptor_);
  if (!found) fail(path_, "cannot read its size", code);
  throw CheckpointError(path_.string() + ": not a regular file");
}

OpenFile::~OpenFile() { ::close(descriptor_); }

void OpenFile::read(std::size_t offset, std::size_t bytes, void* data) const {
  constexpr std::size_t kMost = std::size_t{1} << 30;  // Linux reads at most 2 GiB a call
  auto* out = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t count =
        ::pread(descriptor_, out, std::min(bytes, kMost), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_, "cannot read byte " + std::to_string(offset), errno);
    if (count == 0) {
      throw CheckpointError(path_.string() + ": had " + std::to_string(size_) +
                            " bytes when it was opened, but has been shortened since; fetch it " +
                            "again, and do not change it while it is loaded");
    }
    out += count;
    offset += static_cast<std::size_t>(count);
    bytes -= static_cast<std::size_t>(count);
  }
}

MappedFile::MappedFile(const std::filesystem::path& path) {
  const OpenFile file(path);
  size_ = file.size();
  if (size_ == 0) return;
  void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (mapped == MAP_FAILED) fail(path, "cannot map " + std::to_string(size_) + " bytes", errno);
  data_ = static_cast<const std::byte*>(mapped);
  // File systems with large folios then read and map 2 MB at a time.
  use_huge_pages(mapped, size_);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void prefetch(const void* data, std::size_t bytes) {
  if (data == nullptr || bytes == 0) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(data) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(data) + bytes;
  const auto advise = [first, end](int advice) {
    return ::madvise(reinterpret_cast<void*>(first), end - first, advice);
  };
#ifdef MADV_POPULATE_READ
  // Twice as fast as touching the pages, and a damaged disk is an error code instead of a signal.
  // MADV_WILLNEED would read small folios, which stay small as long as they are in memory.
  if (advise(MADV_POPULATE_READ) == 0 || errno != EINVAL) return;
#endif
  // Linux before 5.14 and other systems.
  advise(MADV_WILLNEED);
  const auto touch = [](std::uintptr_t address) {
    static_cast<void>(*reinterpret_cast<const volatile char*>(address));
  };
  touch(reinterpret_cast<std::uintptr_t>(data));
  for (std::uintptr_t address = first + page; address < end; address += page) touch(address);
}

void release(const std::byte* data, std::size_t bytes) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(data) + bytes) / page * page;
  if (first < end) ::madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
}

}  // namespace instructblip
