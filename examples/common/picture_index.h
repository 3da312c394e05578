// The embeddings of many pictures, kept in a file so that the next search is quick.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "instructblip/instructblip.h"

namespace examples {

/// Pictures and their embeddings. The file is safetensors: `image_embeds` [pictures, queries,
/// width], and in the metadata the name, size and time of each picture and those of the model's
/// files.
class PictureIndex {
 public:
  struct Options {
    std::filesystem::path file;  // empty: none
    std::filesystem::path model;
    std::string dtype;  // and whatever else changes the embeddings
    std::size_t batch_size = 4;
    bool quiet = false;
  };

  /// Takes the embeddings of unchanged pictures from the file and computes the others, with
  /// progress on stderr. Writes the file if anything has changed, every minute and at the end, so
  /// that an interrupted run goes on where it ended; logs a warning if it cannot be written or
  /// holds something else. A picture that cannot be read is named on stderr and left out.
  PictureIndex(const std::vector<std::filesystem::path>& pictures,
               const instructblip::ImageTextRetrieval& retrieval, const Options& options);

  const std::vector<std::filesystem::path>& pictures() const { return pictures_; }
  /// [pictures, queries, width] float32.
  const instructblip::Tensor& image_embeds() const { return embeds_; }
  std::size_t computed() const { return computed_; }
  std::size_t unreadable() const { return unreadable_; }

 private:
  std::vector<std::filesystem::path> pictures_;
  instructblip::Tensor embeds_;
  std::size_t computed_ = 0, unreadable_ = 0;
};

}  // namespace examples
