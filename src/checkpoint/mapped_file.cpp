#include "checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
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

}  // namespace instructblip
