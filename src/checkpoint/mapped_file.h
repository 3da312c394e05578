// A file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <filesystem>

namespace instructblip {

/// Maps the whole file; pages are read on first access. Throws CheckpointError if the file does not
/// exist, is not a regular file, or cannot be mapped. `data` is null for an empty file.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Reads the pages of a mapped range into memory. Does nothing useful for other memory.
void prefetch(const void* data, std::size_t bytes);

}  // namespace instructblip
