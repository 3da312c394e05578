// A scoped view of a checkpoint's tensors. A layer is built from its own scope, and a weight's name
// stands where the layer that owns it is built:
//
//   LlamaMLP::LlamaMLP(const Weights& weights, const LlamaConfig& config)
//       : down_proj(weights["down_proj"], config.intermediate_size, config.hidden_size) {}
//
//   Weights weights(Checkpoint::open(folder), DType::BFloat16);
//   InstructBlipVisionModel model(weights["vision_model"], config);
//   weights.finish();  // throws, naming every tensor that is missing or misshapen
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
#include "instructblip/core/tensor.h"

namespace instructblip {

/// How a checkpoint fits the model that was built from it.
struct WeightsReport {
  /// One line a fault: "NAME: missing, expected [2, 3]".
  std::vector<std::string> faults;
  /// Names of tensors that nobody asked for.
  std::vector<std::string> unexpected;
};

/// A place in a checkpoint, cheap to copy. All copies share one list of faults and of names that
/// were asked for. Safe to use from several threads at once.
class INSTRUCTBLIP_EXPORT Weights {
 public:
  /// The whole checkpoint. `dtype` is the type that matrices are to be computed in; `progress`, if
  /// given, is told of each tensor that is read, of all that the checkpoint holds.
  explicit Weights(std::shared_ptr<const Checkpoint> checkpoint, DType dtype = DType::Float32,
                   ProgressCallback progress = {});
  /// Tensors in memory.
  static Weights from_tensors(std::map<std::string, Tensor> tensors, DType dtype = DType::Float32);

  /// The place below: weights["encoder"]["layers"][3]; a name may hold dots.
  Weights operator[](std::string_view name) const;
  Weights operator[](Index index) const;
  /// The first of `prefixes` (relative; "" is this place) under which `probe` exists, for a part
  /// that loads from its own folder or from a whole checkpoint's. If none has it: the first, so
  /// that faults are named under it.
  Weights at_first_prefix(std::initializer_list<std::string_view> prefixes,
                          std::string_view probe) const;

  /// The full name of this place: "vision_model.encoder.layers.0"; empty for the whole.
  const std::string& name() const { return name_; }
  /// Whether a tensor has exactly this name.
  bool exists() const;
  /// The type that matrices are to be computed in.
  DType dtype() const;
  /// Names the checkpoint in messages.
  const std::string& where() const;
  const Checkpoint& checkpoint() const;

  /// The tensor of this name, as stored (no conversion). Missing, misshapen, or not of a
  /// floating-point type: notes the fault for `finish` and returns a view without data of the
  /// expected shape, so that construction goes on.
  /// Throws CheckpointError once the faults expect far more than the whole checkpoint holds.
  SharedTensor get(const Shape& expected) const;
  /// As `get`, but its absence is fine.
  std::optional<SharedTensor> find(const Shape& expected) const;
  /// The tensor of this name and all below it may stay unread: copies of tied weights.
  void ignore() const;

  /// What `finish` would complain about.
  WeightsReport report() const;
  /// At the end of loading. Throws one CheckpointError that names all faults with expected and
  /// found shapes. Logs one warning that names the tensors below this place that nobody asked for.
  void finish() const;

 private:
  struct Context;
  Weights(std::shared_ptr<Context> context, std::string name);
  std::string below(std::string_view name) const;

  std::shared_ptr<Context> context_;
  std::string name_;
};

/// Whether two tensors have the same shape and elements, each compared as float32 where the types
/// differ: what decides whether a weight that may be tied is a copy.
INSTRUCTBLIP_EXPORT bool same_elements(const TensorView& a, const TensorView& b);

/// "layers.{0-31}.weight" for names that differ in their first number alone; the others as they
/// are. One entry a group, in order of first appearance.
INSTRUCTBLIP_EXPORT std::vector<std::string> collapse_names(const std::vector<std::string>& names);

}  // namespace instructblip
