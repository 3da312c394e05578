// The Q-Former of BLIP-2. "BLIP-2: Bootstrapping Language-Image Pre-training with Frozen Image
// Encoders and Large Language Models", https://arxiv.org/abs/2301.12597. Mirrors the second part of
// transformers' models/blip_2/modeling_blip_2.py; the original code is LAVIS'
// models/blip2_models/Qformer.py.
//
// It differs from InstructBLIP's (modeling_instructblip_qformer.h), whose layers it shares, in two
// ways. It has no embedding tables: text, if there is any, is given as embeddings behind the
// queries. The feed-forward block for text may be missing in its layers.
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "instructblip/configuration/configuration_blip_2.h"
#include "instructblip/models/modeling_instructblip_qformer.h"

namespace instructblip {

/// The arguments of `forward`, as views of the caller's tensors; an empty view means "not given".
/// q: queries, t: text length with padding, p: positions of the image.
struct Blip2QFormerInputs {
  /// The queries, then the embedded text: floating-point [batch, q + t, hidden_size], or [1, q + t,
  /// hidden_size] for all samples.
  TensorView query_embeds{};
  std::optional<Index> query_length = {};  // q; default: all of query_embeds
  /// [batch, q + t], 1 = valid, 0 = masked out; default: all 1. Masked text is not computed.
  TensorView attention_mask{};
  /// The images [batch, p, encoder_hidden_size], or one image [1, p, encoder_hidden_size] for all
  /// samples. Required unless query_length is 0.
  TensorView encoder_hidden_states{};
  TensorView encoder_attention_mask{};  // [images, p], 1 = valid, 0 = masked out; default: all 1
  bool output_hidden_states = false;
  bool output_attentions = false;  // cross-attentions too
};

/// The Q-Former. Immutable; safe to call from several threads.
class Blip2QFormerModel {
 public:
  using Config = Blip2QFormerConfig;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  Blip2QFormerModel(const Weights& weights, const Blip2QFormerConfig& config)
      : config_(validated(config)),
        layernorm_(weights["layernorm"], config.hidden_size, config.layer_norm_eps),
        encoder_(weights["encoder"].packed().quantized(weights.recipe().qformer), config,
                 config.use_qformer_text_input) {}
  /// Loads the Q-Former's own folder, or its part of a BLIP-2 checkpoint. Throws ConfigError or
  /// CheckpointError.
  static Blip2QFormerModel from_pretrained(const std::filesystem::path& path,
                                           const LoadOptions& options = {}) {
    return detail::load_model<Blip2QFormerModel>(path, options, {"", "qformer"},
                                                 "layernorm.weight");
  }

  const Blip2QFormerConfig& config() const { return config_; }

  /// A sample gives the same bits alone and in any batch. Throws InputError if there are queries
  /// but no image, if there is text that the layers have no feed-forward block for, or if shapes do
  /// not match.
  BaseModelOutputWithPoolingAndCrossAttentions forward(const Blip2QFormerInputs& inputs) const {
    const TensorView &embeds = inputs.query_embeds, &images = inputs.encoder_hidden_states;
    detail::check_qformer_states(embeds, "query_embeds", 0, "queries", config_.hidden_size);
    const Index length = embeds.dim(1), query_length = inputs.query_length.value_or(length);
    check(inputs, query_length);
    const Index batch_size =
        query_length == 0 ? embeds.dim(0) : (std::max)(embeds.dim(0), images.dim(0));
    const QFormerBatch batch(batch_size, length, query_length, inputs.attention_mask, images,
                             inputs.encoder_attention_mask);
    const Matrix given = Matrix::from(Tensor::copy_of(embeds).to(DType::Float32));
    std::vector<Index> rows;
    for (Index b = 0; b < batch_size; ++b) {
      const Index first = embeds.dim(0) == 1 ? 0 : b * length;
      for (Index r = batch.all.rows.begin(b); r < batch.all.rows.begin(b + 1); ++r) {
        rows.push_back(first + batch.all.column(r));
      }
    }
    Matrix hidden_states(batch.all.rows.rows(), config_.hidden_size);
    gather_rows(given, rows, hidden_states);
    layernorm_(hidden_states, hidden_states);
    return encoder_(std::move(hidden_states), images, batch,
                    {inputs.output_hidden_states, inputs.output_attentions});
  }

 private:
  void check(const Blip2QFormerInputs& inputs, Index query_length) const {
    const Index length = inputs.query_embeds.dim(1);
    if (query_length < 0 || query_length > length) {
      throw InputError("Q-Former: query_length is " + std::to_string(query_length) +
                       ", expected 0 to " + std::to_string(length) +
                       ", the length of query_embeds");
    }
    if (query_length < length && !config_.use_qformer_text_input) {
      throw InputError("Q-Former: query_embeds holds " + std::to_string(length - query_length) +
                       " positions of text, but this Q-Former reads none (use_qformer_text_input "
                       "is false in its configuration)");
    }
    if (query_length == 0) return;
    if (!inputs.encoder_hidden_states.has_value()) {
      throw InputError("Q-Former: encoder_hidden_states is required when there are queries");
    }
    const Index batch = inputs.query_embeds.dim(0);
    detail::check_qformer_states(inputs.encoder_hidden_states, "encoder_hidden_states",
                                 batch == 1 ? 0 : batch, "positions", config_.encoder_hidden_size);
  }

  Blip2QFormerConfig config_;
  LayerNorm layernorm_;
  InstructBlipQFormerEncoder encoder_;
};

}  // namespace instructblip
