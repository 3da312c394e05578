// A LoRA adapter of PEFT, as changes to the tensors of its base model. Mirrors peft's
// merge_and_unload (peft 0.21, tuners/lora/layer.py), in float32.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

/// How one tensor of the base model changes. Applied in the order of the members.
struct AdapterChange {
  /// The tensor instead of the base model's (modules_to_save, bias).
  std::optional<SharedTensor> replaced;
  /// Rows instead of those of the same numbers (trainable_token_indices).
  std::optional<SharedTensor> rows;
  std::vector<Index> row_numbers;
  /// W + scale * B A, as matrices: A [rank, in], B [out, rank].
  std::optional<SharedTensor> a, b;
  float scale = 1;
  bool is_embedding = false;  // W + scale * (B A)^T: A [rank, rows], B [columns, rank]
  /// DoRA: the norm of each row of W (of an embedding: of each column) afterwards.
  std::optional<SharedTensor> magnitude;
  /// x + scale * bias of B.
  std::optional<SharedTensor> bias;
};

class PeftAdapter {
 public:
  using Tensors = std::map<std::string, CheckpointTensor, std::less<>>;

  /// Reads the adapter in `folder` for a base model with these tensors; `where` names the model in
  /// messages. Throws CheckpointError or ConfigError if the folder holds no adapter that can be
  /// merged, or if a tensor of it fits no tensor of the base model. Logs a warning if modules that
  /// the settings select have no tensors.
  PeftAdapter(const std::filesystem::path& folder, const Tensors& base, const std::string& where);

  const AdapterInfo& info() const { return info_; }
  /// Tensors that the base model does not have: an output head that was tied to the embeddings.
  const Tensors& added() const { return added_; }
  /// The change of this tensor; nullptr if there is none.
  const AdapterChange* find(std::string_view name) const;
  /// The tensor after the change. `stored` is the base model's; it is not read if the change
  /// replaces it.
  static SharedTensor apply(const AdapterChange& change,
                            const std::function<SharedTensor()>& stored);

 private:
  class Reader;

  AdapterInfo info_;
  Tensors added_;
  std::map<std::string, AdapterChange, std::less<>> changes_;
};

}  // namespace instructblip
