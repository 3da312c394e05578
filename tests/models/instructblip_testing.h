// Shared by the tests of modeling_instructblip.h: checkpoints and cases from the fixtures. In the
// comments of this folder, the reference is transformers 5.24.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "instructblip/models/modeling_instructblip.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip::testing {

inline std::filesystem::path checkpoint_folder(std::string_view kind) {
  return fixtures_folder() / "instructblip" / kind;
}

/// The model in a folder of fixtures, in float32. Each is loaded once.
template <class Model>
const Model& loaded_once(const std::filesystem::path& folder) {
  static std::map<std::filesystem::path, Model> models;
  const auto found = models.find(folder);
  if (found != models.end()) return found->second;
  return models.emplace(folder, Model::from_pretrained(folder, {.dtype = DType::Float32}))
      .first->second;
}

inline const InstructBlipForConditionalGeneration& model_of(const std::string& kind) {
  return loaded_once<InstructBlipForConditionalGeneration>(checkpoint_folder(kind));
}

/// A test with the name of a checkpoint's folder as parameter ("opt", "t5", ...).
class KindTest : public ::testing::TestWithParam<const char*> {
 protected:
  const InstructBlipForConditionalGeneration& model() const { return model_of(GetParam()); }
  Fixture expected() const {
    return Fixture(std::string("instructblip/") + GetParam() + "/expected");
  }
  bool decoder_only() const { return model().config().use_decoder_only_language_model(); }
};

/// The arguments of one case of a fixture, with the tensors that own their data.
template <class Inputs>
struct FixtureCase {
  using Argument = std::pair<const char*, TensorView Inputs::*>;

  std::map<std::string, Tensor> tensors;
  Inputs inputs;

  FixtureCase(const Fixture& fixture, const std::string& prefix,
              std::initializer_list<Argument> arguments) {
    for (const auto& [name, member] : arguments) {
      if (!fixture.has(prefix + name)) continue;
      inputs.*member = tensors.emplace(name, fixture[prefix + name]).first->second.view();
    }
  }
};

struct ForwardCase : FixtureCase<InstructBlipInputs> {
  ForwardCase(const Fixture& fixture, const std::string& prefix)
      : FixtureCase(fixture, prefix,
                    {{"pixel_values", &InstructBlipInputs::pixel_values},
                     {"qformer_input_ids", &InstructBlipInputs::qformer_input_ids},
                     {"qformer_attention_mask", &InstructBlipInputs::qformer_attention_mask},
                     {"input_ids", &InstructBlipInputs::input_ids},
                     {"attention_mask", &InstructBlipInputs::attention_mask},
                     {"decoder_input_ids", &InstructBlipInputs::decoder_input_ids},
                     {"decoder_attention_mask", &InstructBlipInputs::decoder_attention_mask},
                     {"labels", &InstructBlipInputs::labels}}) {}

  BatchFeature features() const {
    BatchFeature batch;
    const auto give = [&](const char* name, Tensor& tensor) {
      const auto found = tensors.find(name);
      if (found != tensors.end()) tensor = found->second;
    };
    give("pixel_values", batch.pixel_values);
    give("qformer_input_ids", batch.qformer_input_ids);
    give("qformer_attention_mask", batch.qformer_attention_mask);
    give("input_ids", batch.input_ids);
    give("attention_mask", batch.attention_mask);
    return batch;
  }
};

/// Sets to zero where `mask` [batch, length] is 0: along dimension 1 of states [batch, length, ...]
/// or dimension 2 of attentions [batch, heads, length, ...]. The reference computes values for
/// padding; this library does not.
inline Tensor without_padding(Tensor values, const TensorView& mask) {
  if (mask.data == nullptr) return values;
  const Tensor kept = Tensor::copy_of(mask);
  const bool attentions = values.rank() == 4;
  const Index batch = values.dim(0), heads = attentions ? values.dim(1) : 1;
  const Index length = values.dim(attentions ? 2 : 1);
  const Index width = values.size() / (batch * heads * length);
  float* row = values.data<float>();
  for (Index b = 0; b < batch; ++b) {
    for (Index h = 0; h < heads; ++h) {
      for (Index i = 0; i < length; ++i, row += width) {
        if (kept.at<std::int64_t>({b, i}) == 0) std::fill_n(row, width, 0.0f);
      }
    }
  }
  return values;
}

/// Compares the states of all layers with the fixture's NAME.0, NAME.1, ..., where `mask` keeps
/// them. There must be as many, at least one.
inline void expect_list(const Fixture& fixture, const std::vector<Tensor>& found,
                        const std::string& name, const TensorView& mask = {}) {
  SCOPED_TRACE(name);
  EXPECT_FALSE(found.empty());
  for (std::size_t i = 0; i < found.size(); ++i) {
    expect_close(found[i], without_padding(fixture[name + "." + std::to_string(i)], mask));
  }
  EXPECT_FALSE(fixture.has(name + "." + std::to_string(found.size())));
}

/// Row b of a batch, as a view.
inline TensorView sample(const Tensor& batch, Index b, Index count = 1) {
  Shape shape = batch.shape();
  const Index elements = batch.size() / shape[0];
  shape[0] = count;
  const Index bytes = elements * static_cast<Index>(size_of(batch.dtype()));
  return TensorView(static_cast<const char*>(batch.raw()) + b * bytes, batch.dtype(), shape);
}

}  // namespace instructblip::testing
