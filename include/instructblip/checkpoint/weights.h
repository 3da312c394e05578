// A scoped view of a checkpoint's tensors. A layer is built from its own scope, so a weight is
// named where its layer is built:
//
//   LlamaMLP::LlamaMLP(const Weights& weights, const LlamaConfig& config)
//       : down_proj(weights["down_proj"], config.intermediate_size, config.hidden_size) {}
//
//   Weights weights(Checkpoint::open(folder), {.dtype = DType::BFloat16});
//   InstructBlipVisionModel model(weights["vision_model"], config);
//   weights.finish();  // throws; names every missing or misshapen tensor
#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/core/export.h"
#include "instructblip/core/progress.h"
#include "instructblip/core/quantization.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

class TensorCache;

/// How well a checkpoint matches the model that was built from it.
struct WeightsReport {
  /// One line per fault: "NAME: missing, expected [2, 3]".
  std::vector<std::string> faults;
  /// Names of tensors that the model did not request.
  std::vector<std::string> unexpected;
};

/// How the tensors of a checkpoint are read and computed.
struct WeightsOptions {
  /// The type in which matrices are computed.
  DType dtype = DType::Float32;
  /// The type of the activations that bfloat16 matrices are multiplied with (PreparePolicy).
  DType activations = DType::Float32;
  /// Which matrices are quantised while they are read.
  QuantizationRecipe quantization = {};
  StoredQuantization stored_quantization = {};
  /// Called for each tensor read; counts bytes, in total those of the checkpoint.
  ProgressCallback progress = {};
  /// Read a tensor's pages from the disk when it is requested, not on first use.
  bool prefetch = false;
  /// Quantised matrices of earlier loads (LoadOptions::quantization_cache), or nullptr.
  std::shared_ptr<TensorCache> cache = {};
};

/// A scope inside a checkpoint, cheap to copy. All copies share one list of faults and one of
/// requested names. Thread-safe.
class INSTRUCTBLIP_EXPORT Weights {
 public:
  /// The whole checkpoint.
  explicit Weights(std::shared_ptr<const Checkpoint> checkpoint, WeightsOptions options = {});
  /// Tensors in memory.
  static Weights from_tensors(std::map<std::string, Tensor> tensors, DType dtype = DType::Float32);

  /// A nested scope: weights["encoder"]["layers"][3]; a name may contain dots.
  Weights operator[](std::string_view name) const;
  Weights operator[](Index index) const;
  /// The first of `prefixes` (relative; "" is this scope) that contains `probe`. For parts that
  /// load either from their own folder or from a whole checkpoint. If none contains it: the first
  /// prefix, so that faults are reported under it.
  Weights at_first_prefix(std::initializer_list<std::string_view> prefixes,
                          std::string_view probe) const;

  /// This scope for a part of a model whose matrices meet many rows in every call, such as a vision
  /// tower: its layers pack them (PreparePolicy).
  Weights packed() const;

  /// This scope for a table of which only single rows are used: it is not read from the disk ahead
  /// (WeightsOptions::prefetch), unless `read_ahead` asks for it.
  Weights by_rows() const;

  /// This scope with another quantisation of its matrices; at first they have none. A part of a
  /// model takes its own from `recipe`.
  Weights quantized(std::optional<Quantization> quantization) const;
  /// This scope for matrices that lose much in 4 bits: they have at least 8.
  Weights sensitive() const;

  /// The full name of this scope: "vision_model.encoder.layers.0"; empty for the whole checkpoint.
  const std::string& name() const { return name_; }
  /// Whether a tensor has exactly this name.
  bool exists() const;
  /// The type in which matrices are computed.
  DType dtype() const;
  DType activations() const;
  bool is_packed() const { return packed_; }
  const std::optional<Quantization>& quantization() const { return quantization_; }
  const QuantizationRecipe& recipe() const;
  /// As in WeightsOptions.
  const StoredQuantization& stored_quantization() const;
  /// The name of the checkpoint for messages.
  const std::string& where() const;
  const Checkpoint& checkpoint() const;

  /// The tensor of this name, as stored (no conversion). If it is missing, has another shape or is
  /// not of a floating-point type, records a fault for `finish` and returns a view without data of
  /// the expected shape, so that construction goes on. Throws CheckpointError once the faulty
  /// tensors would need far more memory than the whole checkpoint.
  SharedTensor get(const Shape& expected) const;
  /// Like `get`, but the tensor may be missing.
  std::optional<SharedTensor> find(const Shape& expected) const;
  /// Like `get`, but of one of `types`, which may be whole numbers.
  SharedTensor get(const Shape& expected, std::initializer_list<DType> types) const;
  /// Reads the tensor of this name from the disk now, if WeightsOptions::prefetch says so: a table
  /// that is used as a whole after all.
  void read_ahead() const;
  /// Checks the tensor of this name as `get` does, but reads none of it: its matrix is known
  /// already.
  void skip(const Shape& expected) const;
  /// What the headers say of the tensor of this name; nullptr if there is none.
  const CheckpointTensor* stored() const;
  /// Records "NAME: what" for `finish`, NAME being that of this scope.
  void fault(const std::string& what) const;
  /// Allows the tensor of this name, and all in the scope of this name, to stay unread: copies of
  /// tied weights.
  void ignore() const;

  /// Records that a layer quantises the matrix of this name, or finds it quantised (the name then
  /// ends in "weight", however its tensors are called).
  void note_quantized(const Quantization& quantization) const;
  /// How each matrix is quantised, by name, of those that the layers built so far have read.
  std::map<std::string, Quantization> quantized_matrices() const;

  /// WeightsOptions::cache.
  TensorCache* cache() const;

  /// The faults and leftovers that `finish` would report.
  WeightsReport report() const;
  /// To be called after construction. Throws one CheckpointError that lists all faults with
  /// expected and found shapes. Logs one warning that lists the tensors in this scope that were not
  /// requested. Then writes the cache, if it has changed.
  void finish() const;

 private:
  struct Context;
  std::optional<SharedTensor> find(const Shape& expected, std::initializer_list<DType> types,
                                   const std::string& wanted) const;
  std::string below(std::string_view name) const;

  std::shared_ptr<Context> context_;
  std::string name_;
  bool packed_ = false;
  bool by_rows_ = false;
  std::optional<Quantization> quantization_;
};

/// Whether two tensors have the same shape and elements (compared as float32 if the types differ).
/// Decides whether a possibly tied weight is a copy.
INSTRUCTBLIP_EXPORT bool same_elements(const TensorView& a, const TensorView& b);

/// Groups names that differ only in their first number: "layers.{0-31}.weight". One entry per
/// group, in order of first appearance.
INSTRUCTBLIP_EXPORT std::vector<std::string> collapse_names(const std::vector<std::string>& names);

}  // namespace instructblip
