// A file that gets its name when it is complete.
#pragma once

#include <cstddef>
#include <filesystem>

namespace instructblip {

/// Writes to a file of another name in the folder of `target`, which then replaces `target` at
/// once: others see the old contents or all of the new ones. Several writers of one target, in this
/// process and in others, do not disturb each other. Throws CheckpointError, naming `target`.
class UnfinishedFile {
 public:
  /// Also removes what processes that were killed have left of this target.
  explicit UnfinishedFile(std::filesystem::path target);
  UnfinishedFile(const UnfinishedFile&) = delete;
  UnfinishedFile& operator=(const UnfinishedFile&) = delete;
  /// Removes the file if it is not finished.
  ~UnfinishedFile();

  void write(const void* data, std::size_t bytes);
  /// Gives the file its name, after its contents have reached the disk.
  void finish();

 private:
  void remove_abandoned() const;
  void close();
  [[noreturn]] void fail(int code);

  std::filesystem::path target_, path_;
  int descriptor_ = -1;
};

}  // namespace instructblip
