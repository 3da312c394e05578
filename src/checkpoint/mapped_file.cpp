#include "checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>

#include "core/file_kind.h"
#include "instructblip/core/error.h"

namespace instructblip {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what, int code) {
  throw CheckpointError(path.string() + ": " + what + ": " + std::generic_category().message(code));
}

struct Descriptor {
  int value;
  ~Descriptor() { ::close(value); }
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  const int opened = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (opened < 0 && is_dangling_link(path)) {
    throw CheckpointError(path.string() + ": " + missing_file(path));
  }
  if (opened < 0) fail(path, "cannot open", errno);
  const Descriptor descriptor{opened};
  struct stat status {};
  if (::fstat(descriptor.value, &status) != 0) fail(path, "cannot read its size", errno);
  if (!S_ISREG(status.st_mode)) {
    throw CheckpointError(path.string() + ": not a regular file");
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor.value, 0);
  if (mapped == MAP_FAILED) fail(path, "cannot map " + std::to_string(size_) + " bytes", errno);
  data_ = static_cast<const std::byte*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void prefetch(const void* data, std::size_t bytes) {
  if (data == nullptr || bytes == 0) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(data) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(data) + bytes;
#ifdef MADV_POPULATE_READ
  // Twice as fast as touching the pages, and a damaged disk is an error code instead of a signal.
  const int result = ::madvise(reinterpret_cast<void*>(first), end - first, MADV_POPULATE_READ);
  if (result == 0 || errno != EINVAL) return;
#endif
  // Linux before 5.14 and other systems.
  ::madvise(reinterpret_cast<void*>(first), end - first, MADV_WILLNEED);
  const auto touch = [](std::uintptr_t address) {
    static_cast<void>(*reinterpret_cast<const volatile char*>(address));
  };
  touch(reinterpret_cast<std::uintptr_t>(data));
  for (std::uintptr_t address = first + page; address < end; address += page) touch(address);
}

}  // namespace instructblip
