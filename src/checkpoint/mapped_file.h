// A file of weights, read piece by piece or mapped read-only into memory.
#pragma once

#include <cstddef>
#include <filesystem>

namespace instructblip {

/// Throws CheckpointError if the file does not exist, is not a regular file, or cannot be read.
class OpenFile {
 public:
  explicit OpenFile(std::filesystem::path path);
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile();

  /// Reads `bytes` bytes from `offset` on. Throws CheckpointError if there are fewer.
  void read(std::size_t offset, std::size_t bytes, void* data) const;
  /// When it was opened.
  std::size_t size() const { return size_; }
  int descriptor() const { return descriptor_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::size_t size_ = 0;
};

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

/// Takes the whole pages of a range of a mapped file out of this process's memory. They stay in the
/// system's page cache, from which the next access brings them back.
void release(const std::byte* data, std::size_t bytes);

}  // namespace instructblip
