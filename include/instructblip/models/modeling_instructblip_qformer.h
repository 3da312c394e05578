// The Q-Former: a BERT with learned queries that read the image, guided by the instruction.
// "InstructBLIP: Towards General-purpose Vision-Language Models with Instruction Tuning",
// https://arxiv.org/abs/2305.06500. Mirrors the second part of transformers'
// models/instructblip/modeling_instructblip.py; the original code is LAVIS'
// models/blip2_models/Qformer.py.
//
// It differs from BERT in three ways. Query embeddings without positions precede the text. In every
// cross_attention_frequency-th layer the queries, but not the text, attend to the image. Queries
// and text have separate feed-forward layers.
//
// Layers take ragged rows [rows, hidden_size]: for each sample its queries, then its text without
// padding.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/core/error.h"
#include "instructblip/core/index.h"
#include "instructblip/layers/activation.h"
#include "instructblip/layers/attention.h"
#include "instructblip/layers/embedding.h"
#include "instructblip/layers/linear.h"
#include "instructblip/layers/normalization.h"
#include "instructblip/layers/padded_batch.h"
#include "instructblip/layers/state_recorder.h"
#include "instructblip/models/loading.h"
#include "instructblip/models/modeling_outputs.h"

namespace instructblip {

/// The arguments of `forward`, as views of the caller's tensors; an empty view means "not given".
/// q: queries, t: text length with padding, p: positions of the image.
struct InstructBlipQFormerInputs {
  TensorView input_ids{};  // int64 [batch, t]; if not given: queries only
  /// [batch, q + t], 1 = valid, 0 = masked out; default: all 1. Masked text is not computed.
  TensorView attention_mask{};
  TensorView position_ids{};  // int64 [batch, t] or [1, t]; default: the columns 0, 1, ...
  /// [batch, q, hidden_size], or [1, q, hidden_size] for all samples. If not given, there is only
  /// text, which does not attend to the image.
  TensorView query_embeds{};
  /// The images [batch, p, encoder_hidden_size], or one image [1, p, encoder_hidden_size] for all
  /// samples. Required with query_embeds.
  TensorView encoder_hidden_states{};
  TensorView encoder_attention_mask{};  // [images, p], 1 = valid, 0 = masked out; default: all 1
  bool output_hidden_states = false;
  bool output_attentions = false;  // cross-attentions too
};

namespace detail {

/// A mask [batch, length] as uint8; all 1 if it is not given. Throws InputError, naming `argument`,
/// if it is invalid.
inline Tensor qformer_mask(const TensorView& mask, Index batch, Index length,
                           std::string_view argument) {
  const PaddedBatch kept(batch, length, mask, argument);
  Tensor valid(DType::UInt8, {batch, length});
  for (Index b = 0; b < batch; ++b) {
    for (Index r = kept.rows.begin(b); r < kept.rows.begin(b + 1); ++r) {
      valid.at<std::uint8_t>({b, kept.column(r)}) = 1;
    }
  }
  return valid;
}

}  // namespace detail

/// The rows of one call, and which of them are masked out as keys.
struct QFormerBatch {
  PaddedBatch all;      // [batch, q + t]: all queries, and the unmasked text
  PaddedBatch queries;  // [batch, q]
  PaddedBatch text;     // [batch, t], with the positions of the words
  PaddedBatch image;    // [images, p]

  std::vector<Index> query_rows, text_rows;  // of `all`
  std::vector<std::uint8_t> key_valid;       // [rows of `all`], 0 = a query that is masked out
  Tensor image_valid;                        // uint8 [images, p]
  std::vector<Index> image_of;               // the image of each sample

  /// The arguments must have been checked, but for the masks, which may not be given: `mask` of
  /// queries and text [batch, length], `image_mask` [images, p]. images: [batch or 1, p, width],
  /// not read without queries. Throws InputError if a mask is invalid.
  QFormerBatch(Index batch, Index length, Index query_length, const TensorView& mask,
               const TensorView& images, const TensorView& image_mask) {
    set_rows(detail::qformer_mask(mask, batch, length, "attention_mask"), query_length);
    if (query_length == 0) return;
    image = PaddedBatch(images.dim(0), images.dim(1));
    image_valid =
        detail::qformer_mask(image_mask, image.batch, image.length, "encoder_attention_mask");
    for (Index b = 0; b < batch; ++b) image_of.push_back(image.batch == 1 ? 0 : b);
  }

 private:
  /// Sets the rows from a mask [batch, q + t]. Masked queries are computed, as in the reference,
  /// but no row attends to them.
  void set_rows(const Tensor& mask, Index query_length) {
    const Index batch = mask.dim(0), length = mask.dim(1), text_length = length - query_length;
    Tensor computed = mask;
    for (Index b = 0; b < batch; ++b) {
      std::fill_n(computed.data<std::uint8_t>() + b * length, query_length, std::uint8_t{1});
    }
    // The columns of the text.
    TensorView text_mask(mask.data<std::uint8_t>() + query_length, DType::UInt8,
                         {batch, text_length});
    text_mask.strides = {length, 1};
    all = PaddedBatch(batch, length, computed);
    queries = PaddedBatch(batch, query_length);
    text = PaddedBatch(batch, text_length, text_mask);
    for (Index b = 0; b < batch; ++b) {
      for (Index r = all.rows.begin(b); r < all.rows.begin(b + 1); ++r) {
        const Index column = all.column(r);
        (column < query_length ? query_rows : text_rows).push_back(r);
        key_valid.push_back(mask.at<std::uint8_t>({b, column}));
      }
    }
  }
};

/// Self-attention over queries and text, or cross-attention of the queries to the image.
class InstructBlipQFormerMultiHeadAttention {
 public:
  InstructBlipQFormerMultiHeadAttention(const Weights& weights,
                                        const InstructBlipQFormerConfig& config,
                                        bool is_cross_attention)
      : all_head_size_(config.hidden_size),
        shape_{.num_heads = config.num_attention_heads,
               .num_key_value_heads = config.num_attention_heads,
               .head_dim = config.hidden_size / config.num_attention_heads,
               .scale = 1.0f / std::sqrt(static_cast<float>(config.hidden_size /
                                                            config.num_attention_heads)),
               .dtype = weights.dtype(),
               .activations = weights.activations()} {
    const Linear::Part query{weights["query"], all_head_size_};
    const Linear::Part key{weights["key"], all_head_size_};
    const Linear::Part value{weights["value"], all_head_size_};
    if (is_cross_attention) {
      query_ = Linear({query}, config.hidden_size);
      key_value_ = Linear({key, value}, config.encoder_hidden_size);
    } else {
      query_key_value_ = Linear({query, key, value}, config.hidden_size);
    }
  }

  /// Self-attention: hidden_states [rows, hidden_size] -> the same shape.
  Matrix operator()(MatrixView hidden_states, const QFormerBatch& batch,
                    StateRecorder& states) const {
    const Matrix mixed = query_key_value_(hidden_states);
    const MatrixView query_layer = mixed.view().middle_cols(0, all_head_size_);
    const MatrixView key_layer = mixed.view().middle_cols(all_head_size_, all_head_size_);
    const MatrixView value_layer = mixed.view().middle_cols(2 * all_head_size_, all_head_size_);

    std::vector<AttentionSequence> sequences =
        self_attention(key_layer, value_layer, batch.all.rows, batch.key_valid.data());
    states.add_attentions(sequences, shape_.num_heads);
    return attend(query_layer, shape_, sequences);
  }

  /// Cross-attention: queries [query rows, hidden_size] attend to encoder_hidden_states [image
  /// rows, encoder_hidden_size] -> the shape of the queries.
  Matrix operator()(MatrixView queries, MatrixView encoder_hidden_states, const QFormerBatch& batch,
                    StateRecorder& states) const {
    const Matrix query_layer = query_(queries);
    const Matrix mixed = key_value_(encoder_hidden_states);
    const MatrixView key_layer = mixed.view().middle_cols(0, all_head_size_);
    const MatrixView value_layer = mixed.view().middle_cols(all_head_size_, all_head_size_);

    std::vector<AttentionSequence> sequences =
        cross_attention(key_layer, value_layer, batch.queries.rows, batch.image.rows,
                        batch.image_valid.data<std::uint8_t>(), batch.image_of);
    states.add_cross_attentions(sequences, shape_.num_heads);
    return attend(query_layer, shape_, sequences);
  }

 private:
  Index all_head_size_;
  AttentionShape shape_;
  Linear query_key_value_;    // self-attention: queries, keys and values side by side
  Linear query_, key_value_;  // cross-attention
};

/// LayerNorm(dense(x) + input), the end of an attention block (the reference's SelfOutput) and of a
/// feed-forward block (Output).
class InstructBlipQFormerOutput {
 public:
  InstructBlipQFormerOutput(const Weights& weights, Index in_features,
                            const InstructBlipQFormerConfig& config)
      : dense_(weights["dense"], in_features, config.hidden_size),
        LayerNorm_(weights["LayerNorm"], config.hidden_size, config.layer_norm_eps) {}

  /// hidden_states [rows, in_features]; input_tensor [rows, hidden_size], which receives the
  /// result.
  void operator()(MatrixView hidden_states, MutableMatrixView input_tensor) const {
    dense_(hidden_states, input_tensor, {.residual = input_tensor});
    LayerNorm_(input_tensor, input_tensor);
  }

 private:
  Linear dense_;
  LayerNorm LayerNorm_;
};

/// An attention block, including the norm at its end.
class InstructBlipQFormerAttention {
 public:
  InstructBlipQFormerAttention(const Weights& weights, const InstructBlipQFormerConfig& config,
                               bool is_cross_attention = false)
      : attention_(weights["attention"], config, is_cross_attention),
        output_(weights["output"], config.hidden_size, config) {}

  /// Self-attention: updates hidden_states [rows, hidden_size] in place.
  void operator()(MutableMatrixView hidden_states, const QFormerBatch& batch,
                  StateRecorder& states) const {
    output_(attention_(hidden_states, batch, states), hidden_states);
  }
  /// Cross-attention: updates queries [query rows, hidden_size] in place.
  void operator()(MutableMatrixView queries, MatrixView encoder_hidden_states,
                  const QFormerBatch& batch, StateRecorder& states) const {
    output_(attention_(queries, encoder_hidden_states, batch, states), queries);
  }

 private:
  InstructBlipQFormerMultiHeadAttention attention_;
  InstructBlipQFormerOutput output_;
};

/// act(dense(x)), [rows, hidden_size] -> [rows, intermediate_size].
class InstructBlipQFormerIntermediate {
 public:
  InstructBlipQFormerIntermediate(const Weights& weights, const InstructBlipQFormerConfig& config)
      : dense_(weights["dense"], config.hidden_size, config.intermediate_size),
        intermediate_act_fn_(activation_from_name(config.hidden_act)) {}

  Matrix operator()(MatrixView hidden_states) const {
    return dense_(hidden_states, {.activation = intermediate_act_fn_});
  }

 private:
  Linear dense_;
  Activation intermediate_act_fn_;
};

/// Self-attention over queries and text, then, in every cross_attention_frequency-th layer,
/// cross-attention of the queries to the image, then separate feed-forward blocks for queries and
/// text.
class InstructBlipQFormerLayer {
 public:
  /// with_text: whether there is a feed-forward block for text.
  InstructBlipQFormerLayer(const Weights& weights, const InstructBlipQFormerConfig& config,
                           Index layer_idx, bool with_text)
      : attention_(weights["attention"], config),
        intermediate_query_(weights["intermediate_query"], config),
        output_query_(weights["output_query"], config.intermediate_size, config) {
    if (with_text) {
      intermediate_.emplace(weights["intermediate"], config);
      output_.emplace(weights["output"], config.intermediate_size, config);
    }
    if (layer_idx % config.cross_attention_frequency == 0) {
      crossattention_.emplace(weights["crossattention"], config, true);
    }
  }

  /// Updates hidden_states [rows, hidden_size] in place. encoder_hidden_states is [image rows,
  /// encoder_hidden_size]; it may be empty if there are no queries.
  void operator()(MutableMatrixView hidden_states, MatrixView encoder_hidden_states,
                  const QFormerBatch& batch, StateRecorder& states) const {
    attention_(hidden_states, batch, states);
    if (!batch.query_rows.empty()) {
      Matrix queries(batch.queries.rows.rows(), hidden_states.cols);
      gather_rows(hidden_states, batch.query_rows, queries);
      if (crossattention_) (*crossattention_)(queries, encoder_hidden_states, batch, states);
      feed_forward_chunk_query(queries);
      scatter_rows(queries, batch.query_rows, hidden_states);
    }
    if (!batch.text_rows.empty()) {
      Matrix text(batch.text.rows.rows(), hidden_states.cols);
      gather_rows(hidden_states, batch.text_rows, text);
      feed_forward_chunk(text);
      scatter_rows(text, batch.text_rows, hidden_states);
    }
  }

 private:
  void feed_forward_chunk(MutableMatrixView text) const {
    (*output_)((*intermediate_)(text), text);
  }
  void feed_forward_chunk_query(MutableMatrixView queries) const {
    output_query_(intermediate_query_(queries), queries);
  }

  InstructBlipQFormerAttention attention_;
  std::optional<InstructBlipQFormerAttention> crossattention_;
  std::optional<InstructBlipQFormerIntermediate> intermediate_;
  std::optional<InstructBlipQFormerOutput> output_;
  InstructBlipQFormerIntermediate intermediate_query_;
  InstructBlipQFormerOutput output_query_;
};

/// The layers, applied one after the other.
class InstructBlipQFormerEncoder {
 public:
  InstructBlipQFormerEncoder(const Weights& weights, const InstructBlipQFormerConfig& config,
                             bool with_text = true) {
    for (Index i = 0; i < config.num_hidden_layers; ++i) {
      layer_.emplace_back(weights["layer"][i], config, i, with_text);
    }
  }

  /// The embeddings hidden_states [rows, hidden_size] and the images, read only if there are
  /// queries -> the Q-Former's output. Throws InputError if a tensor cannot be read.
  BaseModelOutputWithPoolingAndCrossAttentions operator()(Matrix hidden_states,
                                                          const TensorView& images,
                                                          const QFormerBatch& batch,
                                                          const ForwardCapture& capture) const {
    Matrix encoder_hidden_states;
    if (!batch.query_rows.empty()) encoder_hidden_states = batch.image.gather(images);
    StateRecorder states;
    states.capture = capture;
    states.add_hidden_states(hidden_states);
    for (const InstructBlipQFormerLayer& layer_module : layer_) {
      layer_module(hidden_states, encoder_hidden_states, batch, states);
      states.add_hidden_states(hidden_states);
    }

    BaseModelOutputWithPoolingAndCrossAttentions output;
    output.last_hidden_state = batch.all.scatter(hidden_states);
    output.pooler_output = first_positions(output.last_hidden_state);
    output.hidden_states = batch.all.scatter(states.hidden_states);
    output.attentions = batch.all.scatter_attentions(states.attentions, batch.all);
    output.cross_attentions = batch.queries.scatter_attentions(
        states.cross_attentions, PaddedBatch(batch.queries.batch, batch.image.length));
    return output;
  }

 private:
  /// [batch, length, hidden_size] -> the first position of each sample, [batch, hidden_size].
  static Tensor first_positions(const Tensor& last_hidden_state) {
    std::vector<Index> rows;
    for (Index b = 0; b < last_hidden_state.dim(0); ++b) {
      rows.push_back(b * last_hidden_state.dim(1));
    }
    Tensor first(DType::Float32, {last_hidden_state.dim(0), last_hidden_state.dim(2)});
    gather_rows(as_rows(last_hidden_state), rows, as_rows(first));
    return first;
  }

  std::vector<InstructBlipQFormerLayer> layer_;
};

/// The tables of words and positions, which InstructBLIP's Q-Former and BLIP-2's retrieval models
/// have.
class Blip2TextEmbeddings {
 public:
  Blip2TextEmbeddings(const Weights& weights, const InstructBlipQFormerConfig& config)
      : word_embeddings_(weights["word_embeddings"], config.vocab_size, config.hidden_size),
        position_embeddings_(weights["position_embeddings"], config.max_position_embeddings,
                             config.hidden_size) {}

  Index embedding_dim() const { return word_embeddings_.embedding_dim(); }

  /// The unmasked words of input_ids [batch, t] with their positions, [rows of text, hidden_size].
  /// Throws InputError if an id or a position is outside its table.
  Matrix operator()(const TensorView& input_ids, const PaddedBatch& text) const {
    const std::vector<std::int64_t> words = text.gather_ids(input_ids);
    const std::vector<std::int64_t> positions(text.rows.positions.begin(),
                                              text.rows.positions.end());
    check_range(words, word_embeddings_, text, "input_ids", "the size of the vocabulary");
    check_range(positions, position_embeddings_, text, "the position of input_ids",
                "max_position_embeddings; shorten the text");
    Matrix embeddings = word_embeddings_(words);
    add_rows(position_embeddings_(positions), embeddings);
    return embeddings;
  }

 private:
  /// Throws InputError, naming `argument` and `limit`, if an index is outside the table.
  static void check_range(std::span<const std::int64_t> indices, const Embedding& table,
                          const PaddedBatch& text, const char* argument, const char* limit) {
    for (Index b = 0; b < text.batch; ++b) {
      for (Index r = text.rows.begin(b); r < text.rows.begin(b + 1); ++r) {
        const std::int64_t index = at(indices, r);
        if (index >= 0 && index < table.num_embeddings()) continue;
        throw InputError("Q-Former: " + std::string(argument) + "[" + std::to_string(b) + "][" +
                         std::to_string(text.column(r)) + "] is " + std::to_string(index) +
                         ", expected 0 or more and less than " +
                         std::to_string(table.num_embeddings()) + ", " + limit);
      }
    }
  }

  Embedding word_embeddings_, position_embeddings_;
};

/// The queries unchanged and the words with position embeddings, with a norm over both.
class InstructBlipQFormerEmbeddings {
 public:
  InstructBlipQFormerEmbeddings(const Weights& weights, const InstructBlipQFormerConfig& config)
      : text_(weights, config),
        layernorm_(weights["layernorm"], config.hidden_size, config.layer_norm_eps) {}

  /// Returns [rows, hidden_size]. Throws InputError if an id or a position is outside its table.
  Matrix operator()(const TensorView& input_ids, const TensorView& query_embeds,
                    const QFormerBatch& batch) const {
    Matrix embeddings(batch.all.rows.rows(), text_.embedding_dim());
    if (!batch.query_rows.empty()) {
      const Matrix given = Matrix::from(Tensor::copy_of(query_embeds).to(DType::Float32));
      for (Index r = 0; r < batch.queries.rows.rows(); ++r) {
        const Index row = at(batch.query_rows, r);
        std::copy_n(given.row(r % given.rows()), given.cols(), embeddings.row(row));
      }
    }
    if (!batch.text_rows.empty()) {
      scatter_rows(text_(input_ids, batch.text), batch.text_rows, embeddings);
    }
    layernorm_(embeddings, embeddings);
    return embeddings;
  }

 private:
  Blip2TextEmbeddings text_;
  LayerNorm layernorm_;
};

namespace detail {

/// Throws InputError unless `tensor` is floating-point [batch or 1, any length, width]. Batch 0
/// means any batch.
inline void check_qformer_states(const TensorView& tensor, const char* name, Index batch,
                                 const char* length, Index width) {
  if (is_floating_point(tensor.dtype) && tensor.rank() == 3 && tensor.dim(0) > 0 &&
      tensor.dim(1) > 0 && tensor.dim(2) == width &&
      (batch == 0 || tensor.dim(0) == batch || tensor.dim(0) == 1)) {
    return;
  }
  throw InputError("Q-Former: " + std::string(name) + " has type " +
                   std::string(name_of(tensor.dtype)) + " and shape " + to_string(tensor.shape) +
                   ", expected floating-point [" + (batch == 0 ? "batch" : std::to_string(batch)) +
                   ", " + length + ", " + std::to_string(width) + "]");
}

/// Throws InputError unless the types and shapes of ids, queries and images match.
inline void check_qformer_inputs(const InstructBlipQFormerInputs& inputs,
                                 const InstructBlipQFormerConfig& config) {
  const TensorView &ids = inputs.input_ids, &queries = inputs.query_embeds;
  if (!ids.has_value() && !queries.has_value()) {
    throw InputError("Q-Former: query_embeds is required when input_ids is not given");
  }
  if (ids.has_value() && (ids.rank() != 2 || is_floating_point(ids.dtype))) {
    throw InputError("Q-Former: input_ids has type " + std::string(name_of(ids.dtype)) +
                     " and shape " + to_string(ids.shape) +
                     ", expected an integer type and [batch, length]");
  }
  if (ids.has_value() && (ids.dim(0) < 1 || (ids.dim(1) < 1 && !queries.has_value()))) {
    throw InputError("Q-Former: the batch is empty: input_ids has shape " + to_string(ids.shape));
  }
  if (!queries.has_value()) return;
  if (!inputs.encoder_hidden_states.has_value()) {
    throw InputError("Q-Former: encoder_hidden_states is required when query_embeds is given");
  }
  Index batch = ids.has_value() ? ids.dim(0) : 0;
  check_qformer_states(queries, "query_embeds", batch, "queries", config.hidden_size);
  if (!ids.has_value() && queries.dim(0) > 1) batch = queries.dim(0);
  check_qformer_states(inputs.encoder_hidden_states, "encoder_hidden_states", batch, "positions",
                       config.encoder_hidden_size);
}

}  // namespace detail

/// The Q-Former. Immutable; safe to call from several threads.
class InstructBlipQFormerModel {
 public:
  using Config = InstructBlipQFormerConfig;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  InstructBlipQFormerModel(const Weights& weights, const InstructBlipQFormerConfig& config)
      : config_(validated(config)),
        embeddings_(weights["embeddings"], config),
        encoder_(weights["encoder"].packed().quantized(weights.recipe().qformer), config) {}
  /// Loads the Q-Former's own folder, or its part of an InstructBLIP checkpoint. Throws ConfigError
  /// or CheckpointError.
  static InstructBlipQFormerModel from_pretrained(const std::filesystem::path& path,
                                                  const LoadOptions& options = {}) {
    return detail::load_model<InstructBlipQFormerModel>(path, options, {"", "qformer"},
                                                        "embeddings.layernorm.weight");
  }

  const InstructBlipQFormerConfig& config() const { return config_; }

  /// A sample gives the same bits alone and in any batch. Throws InputError if there are neither
  /// ids nor queries, if there are queries but no image, if an id is outside the vocabulary, if a
  /// text is longer than max_position_embeddings, or if shapes do not match.
  BaseModelOutputWithPoolingAndCrossAttentions forward(
      const InstructBlipQFormerInputs& inputs) const {
    detail::check_qformer_inputs(inputs, config_);
    const TensorView &ids = inputs.input_ids, &images = inputs.encoder_hidden_states;
    const bool has_text = ids.has_value(), has_queries = inputs.query_embeds.has_value();
    const Index query_length = has_queries ? inputs.query_embeds.dim(1) : 0;
    const Index batch_size =
        has_text ? ids.dim(0) : (std::max)(inputs.query_embeds.dim(0), images.dim(0));
    QFormerBatch batch(batch_size, query_length + (has_text ? ids.dim(1) : 0), query_length,
                       inputs.attention_mask, images, inputs.encoder_attention_mask);
    if (has_text && inputs.position_ids.has_value()) batch.text.use_positions(inputs.position_ids);
    return encoder_(embeddings_(ids, inputs.query_embeds, batch), images, batch,
                    {inputs.output_hidden_states, inputs.output_attentions});
  }

 private:
  InstructBlipQFormerConfig config_;
  InstructBlipQFormerEmbeddings embeddings_;
  InstructBlipQFormerEncoder encoder_;
};

}  // namespace instructblip
