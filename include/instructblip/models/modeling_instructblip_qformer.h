// The Q-Former: a BERT whose learned queries look at the picture, given the instruction.
// "InstructBLIP: Towards General-purpose Vision-Language Models with Instruction Tuning",
// https://arxiv.org/abs/2305.06500. Mirrors the second part of transformers'
// models/instructblip/modeling_instructblip.py; the original is LAVIS'
// models/blip2_models/Qformer.py.
//
// How it differs from BERT: query embeddings without positions stand in front of the text; every
// cross_attention_frequency-th layer lets the queries, not the text, attend to the picture; queries
// and text have feed-forward layers of their own.
//
// Layers take ragged rows, [rows, hidden_size]: first the queries of all samples, then the texts of
// all samples without their padding.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/core/export.h"
#include "instructblip/kernels/kernels.h"
#include "instructblip/layers/embedding.h"
#include "instructblip/layers/linear.h"
#include "instructblip/layers/normalization.h"
#include "instructblip/layers/row_table.h"
#include "instructblip/models/load_options.h"

namespace instructblip {

/// q: queries, t: text with padding, p: positions of the picture. Padded positions hold zeros.
/// Lists are empty unless asked for.
struct BaseModelOutputWithPoolingAndCrossAttentions {
  Tensor last_hidden_state;           // [batch, q + t, hidden_size]
  Tensor pooler_output;               // [batch, hidden_size], the first position
  std::vector<Tensor> hidden_states;  // layers + 1; [0]: embeddings, the last: last_hidden_state
  /// Self-attention of each layer [batch, heads, q + t, q + t] (the reference's list holds the
  /// cross-attentions between them).
  std::vector<Tensor> attentions;
  std::vector<Tensor> cross_attentions;  // of each layer that has it [batch, heads, q, p]
};

/// Views of the caller's tensors; one without data is an argument that was not given.
struct InstructBlipQFormerInputs {
  TensorView input_ids{};  // int64 [batch, t]; without: queries alone
  /// [batch, q + t], 1 or 0; default: all 1. Text positions with 0 are not computed.
  TensorView attention_mask{};
  TensorView position_ids{};  // int64 [batch, t] or [1, t]; default: 0, 1, ..., padding included
  /// [batch, q, hidden_size], or [1, q, hidden_size] for all samples; without: text alone, which
  /// does not look at the picture.
  TensorView query_embeds{};
  /// The pictures [batch, p, encoder_hidden_size], or one for all samples.
  TensorView encoder_hidden_states{};
  TensorView encoder_attention_mask{};  // [pictures, p], 1 or 0; default: all 1
  bool output_hidden_states = false;
  bool output_attentions = false;  // cross-attentions too
};

/// The rows of one call: which sample and which column of the padded batch each belongs to.
struct INSTRUCTBLIP_EXPORT QFormerRows {
  Index batch = 0;
  Index query_length = 0;
  Index text_length = 0;       // with padding
  RowTable text;               // kept text positions; row r of it is row query_rows() + r
  std::vector<Index> columns;  // of each kept text position, in [0, text_length)
  RowTable image;              // positions of the pictures
  std::vector<std::uint8_t> query_valid;  // [batch * query_length], empty: all
  std::vector<std::uint8_t> image_valid;  // [batch * p], empty: all

  Index query_rows() const { return batch * query_length; }
  Index rows() const { return query_rows() + text.rows(); }
  /// [rows, width] -> [batch, query_length + text_length, width]; zeros for padding.
  Tensor scatter(MatrixView values) const;
};

/// Words with their positions behind the queries, normalised.
class INSTRUCTBLIP_EXPORT InstructBlipQFormerEmbeddings {
 public:
  InstructBlipQFormerEmbeddings(const Weights& weights, const InstructBlipQFormerConfig& config);

  /// -> [rows, hidden_size].
  Matrix operator()(const InstructBlipQFormerInputs& inputs, const QFormerRows& rows) const;

 private:
  void add_text(const InstructBlipQFormerInputs& inputs, const QFormerRows& rows,
                MutableMatrixView text) const;

  Embedding word_embeddings_, position_embeddings_;
  LayerNorm layernorm_;
};

/// Self-attention over queries and text, or attention of the queries to the picture.
class INSTRUCTBLIP_EXPORT InstructBlipQFormerMultiHeadAttention {
 public:
  InstructBlipQFormerMultiHeadAttention(const Weights& weights,
                                        const InstructBlipQFormerConfig& config,
                                        bool is_cross_attention);

  /// hidden_states [rows, hidden_size] -> the same shape. `attentions`, if given, becomes
  /// [batch, heads, q + t, q + t].
  Matrix operator()(MatrixView hidden_states, const QFormerRows& rows, Tensor* attentions) const;
  /// The queries [query rows, hidden_size] and the picture [image rows, encoder_hidden_size] -> the
  /// shape of the queries. `attentions`, if given, becomes [batch, heads, q, p].
  Matrix operator()(MatrixView queries, MatrixView encoder_hidden_states, const QFormerRows& rows,
                    Tensor* attentions) const;

 private:
  Index all_head_size_;
  AttentionShape shape_;
  Linear query_key_value_;    // self-attention: the three side by side
  Linear query_, key_value_;  // cross-attention
};

/// LayerNorm(dense(x) + input): what ends an attention block (SelfOutput) and a feed-forward block
/// (Output).
class INSTRUCTBLIP_EXPORT InstructBlipQFormerOutput {
 public:
  InstructBlipQFormerOutput(const Weights& weights, Index in_features,
                            const InstructBlipQFormerConfig& config);

  /// result may be input_tensor.
  void operator()(MatrixView hidden_states, MatrixView input_tensor,
                  MutableMatrixView result) const;

 private:
  Linear dense_;
  LayerNorm LayerNorm_;
};

/// An attention block with the norm that ends it.
class INSTRUCTBLIP_EXPORT InstructBlipQFormerAttention {
 public:
  InstructBlipQFormerAttention(const Weights& weights, const InstructBlipQFormerConfig& config,
                               bool is_cross_attention = false);

  /// hidden_states [rows, hidden_size], in place.
  void operator()(MutableMatrixView hidden_states, const QFormerRows& rows,
                  Tensor* attentions) const;
  /// queries [query rows, hidden_size], in place.
  void operator()(MutableMatrixView queries, MatrixView encoder_hidden_states,
                  const QFormerRows& rows, Tensor* attentions) const;

 private:
  InstructBlipQFormerMultiHeadAttention attention_;
  InstructBlipQFormerOutput output_;
};

/// act(dense(x)): [rows, hidden_size] -> [rows, intermediate_size].
class INSTRUCTBLIP_EXPORT InstructBlipQFormerIntermediate {
 public:
  InstructBlipQFormerIntermediate(const Weights& weights, const InstructBlipQFormerConfig& config);
  Matrix operator()(MatrixView hidden_states) const;

 private:
  Linear dense_;
  Activation intermediate_act_fn_;
};

/// Self-attention over queries and text, in every cross_attention_frequency-th layer the queries'
/// attention to the picture, and a feed-forward each for queries and text.
class INSTRUCTBLIP_EXPORT InstructBlipQFormerLayer {
 public:
  InstructBlipQFormerLayer(const Weights& weights, const InstructBlipQFormerConfig& config,
                           Index layer_idx);

  /// hidden_states [rows, hidden_size], in place; attentions go to `output` where they were asked
  /// for. encoder_hidden_states [image rows, encoder_hidden_size], empty only without queries.
  void operator()(MutableMatrixView hidden_states, const QFormerRows& rows,
                  MatrixView encoder_hidden_states, bool output_attentions,
                  BaseModelOutputWithPoolingAndCrossAttentions& output) const;

  bool has_cross_attention() const { return crossattention_.has_value(); }

 private:
  InstructBlipQFormerAttention attention_;
  std::optional<InstructBlipQFormerAttention> crossattention_;
  InstructBlipQFormerIntermediate intermediate_;  // of the text
  InstructBlipQFormerOutput output_;
  InstructBlipQFormerIntermediate intermediate_query_;  // of the queries
  InstructBlipQFormerOutput output_query_;
};

/// The layers one after the other.
class INSTRUCTBLIP_EXPORT InstructBlipQFormerEncoder {
 public:
  InstructBlipQFormerEncoder(const Weights& weights, const InstructBlipQFormerConfig& config);

  /// hidden_states [rows, hidden_size], in place; what `inputs` ask for goes to `output`.
  void operator()(Matrix& hidden_states, const QFormerRows& rows, MatrixView encoder_hidden_states,
                  const InstructBlipQFormerInputs& inputs,
                  BaseModelOutputWithPoolingAndCrossAttentions& output) const;

 private:
  std::vector<InstructBlipQFormerLayer> layer_;
};

/// The whole Q-Former. Immutable; safe to call from several threads.
class INSTRUCTBLIP_EXPORT InstructBlipQFormerModel {
 public:
  /// Reads the tensors below `weights`; whoever made it calls `finish`. Throws ConfigError for a
  /// configuration that cannot be.
  InstructBlipQFormerModel(const Weights& weights, const InstructBlipQFormerConfig& config);
  /// From its own folder or a whole InstructBLIP checkpoint's. Throws ConfigError or
  /// CheckpointError.
  static InstructBlipQFormerModel from_pretrained(const std::filesystem::path& path,
                                                  const LoadOptions& options = {});

  /// A sample gives the same bits alone and in any batch. Throws InputError if there are neither
  /// ids nor queries, if there are queries without a picture, on ids outside the vocabulary, on
  /// texts longer than max_position_embeddings and on shapes that do not fit.
  BaseModelOutputWithPoolingAndCrossAttentions forward(
      const InstructBlipQFormerInputs& inputs) const;

  const InstructBlipQFormerConfig& config() const { return config_; }

 private:
  InstructBlipQFormerConfig config_;
  InstructBlipQFormerEmbeddings embeddings_;
  InstructBlipQFormerEncoder encoder_;
};

}  // namespace instructblip
