#include "instructblip/models/modeling_instructblip_qformer.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "instructblip/core/error.h"
#include "instructblip/layers/activation.h"
#include "instructblip/layers/attention.h"

namespace instructblip {
namespace detail {

/// A mask of `shape` as 0 and 1; empty if it was not given or leaves nothing out. Throws InputError
/// naming `argument`.
std::vector<std::uint8_t> qformer_mask(const TensorView& mask, const Shape& shape,
                                       const char* argument) {
  std::vector<std::uint8_t> valid;
  if (mask.data == nullptr) return valid;
  if (mask.shape != shape || is_floating_point(mask.dtype)) {
    throw InputError(std::string("Q-Former: ") + argument + " is of type " +
                     std::string(name_of(mask.dtype)) + " and shape " + to_string(mask.shape) +
                     ", expected an integer type (int64) and " + to_string(shape));
  }
  const Tensor values = Tensor::copy_of(mask).to(DType::Int64);
  bool all = true;
  for (const std::int64_t value : values.span<std::int64_t>()) {
    if (value != 0 && value != 1) {
      throw InputError(std::string("Q-Former: ") + argument + " holds " + std::to_string(value) +
                       ", expected 0 or 1");
    }
    valid.push_back(static_cast<std::uint8_t>(value));
    all = all && value == 1;
  }
  if (all) valid.clear();
  return valid;
}

void check_qformer_tensor(const TensorView& tensor, bool fits, bool floating, const char* argument,
                          const std::string& expected) {
  if (fits && is_floating_point(tensor.dtype) == floating) return;
  throw InputError(std::string("Q-Former: ") + argument + " is of type " +
                   std::string(name_of(tensor.dtype)) + " and shape " + to_string(tensor.shape) +
                   ", expected " + (floating ? "a floating-point type" : "an integer type") +
                   " and " + expected);
}

Index qformer_batch(const InstructBlipQFormerInputs& inputs) {
  if (inputs.input_ids.data != nullptr) {
    check_qformer_tensor(inputs.input_ids, inputs.input_ids.rank() == 2, false, "input_ids",
                         "[batch, length]");
    return inputs.input_ids.dim(0);
  }
  const TensorView& image = inputs.encoder_hidden_states;
  const Index queries = inputs.query_embeds.dim(0);
  return image.data != nullptr && image.rank() == 3 ? std::max(image.dim(0), queries) : queries;
}

/// Splits the padded arguments into rows; all checks of shapes are here.
QFormerRows qformer_rows(const InstructBlipQFormerInputs& inputs,
                         const InstructBlipQFormerConfig& config) {
  const TensorView& queries = inputs.query_embeds;
  const TensorView& image = inputs.encoder_hidden_states;
  if (inputs.input_ids.data == nullptr && queries.data == nullptr) {
    throw InputError("Q-Former: You have to specify query_embeds when input_ids is None");
  }
  QFormerRows rows;
  if (queries.data != nullptr) {
    check_qformer_tensor(queries, queries.rank() == 3 && queries.dim(2) == config.hidden_size, true,
                         "query_embeds",
                         "[batch, queries, " + std::to_string(config.hidden_size) + "]");
    rows.query_length = queries.dim(1);
  }
  rows.batch = qformer_batch(inputs);
  const std::string batch = "[" + std::to_string(rows.batch) + ", ";
  if (queries.data != nullptr) {
    check_qformer_tensor(queries, queries.dim(0) == rows.batch || queries.dim(0) == 1, true,
                         "query_embeds",
                         batch + "queries, " + std::to_string(config.hidden_size) + "]");
    if (image.data == nullptr) {
      throw InputError("Q-Former: encoder_hidden_states must be given for cross-attention layers");
    }
    check_qformer_tensor(image,
                         image.rank() == 3 && (image.dim(0) == rows.batch || image.dim(0) == 1) &&
                             image.dim(1) > 0 && image.dim(2) == config.encoder_hidden_size,
                         true, "encoder_hidden_states",
                         batch + "positions, " + std::to_string(config.encoder_hidden_size) + "]");
    rows.image = RowTable::uniform(rows.batch, image.dim(1));
    const auto mask = qformer_mask(inputs.encoder_attention_mask, {image.dim(0), image.dim(1)},
                                   "encoder_attention_mask");
    for (Index i = 0; i < rows.batch && !mask.empty(); i += image.dim(0)) {
      rows.image_valid.insert(rows.image_valid.end(), mask.begin(), mask.end());
    }
  }
  if (inputs.input_ids.data != nullptr) rows.text_length = inputs.input_ids.dim(1);
  if (rows.batch < 1 || rows.query_length + rows.text_length < 1) {
    throw InputError("Q-Former: the batch is empty");
  }

  const Index length = rows.query_length + rows.text_length;
  const auto mask = qformer_mask(inputs.attention_mask, {rows.batch, length}, "attention_mask");
  for (Index b = 0; b < rows.batch; ++b) {
    const std::uint8_t* valid = mask.empty() ? nullptr : mask.data() + b * length;
    for (Index i = 0; i < rows.query_length && valid != nullptr; ++i) {
      rows.query_valid.push_back(valid[i]);
    }
    for (Index column = 0; column < rows.text_length; ++column) {
      if (valid == nullptr || valid[rows.query_length + column] != 0) {
        rows.columns.push_back(column);
      }
    }
    rows.text.offsets.push_back(static_cast<Index>(rows.columns.size()));
  }
  rows.text.positions = rows.columns;
  return rows;
}

/// The pictures' positions, [rows.image.rows(), encoder_hidden_size].
Matrix qformer_image(const TensorView& image, const QFormerRows& rows) {
  Matrix given = Matrix::from(Tensor::copy_of(image).to(DType::Float32));
  if (given.rows() == rows.image.rows()) return given;
  Matrix repeated(rows.image.rows(), given.cols());
  for (Index r = 0; r < repeated.rows(); ++r) {
    std::copy_n(given.row(r % given.rows()), given.cols(), repeated.row(r));
  }
  return repeated;
}

/// Captured probabilities of queries and of text [heads, rows, q + kept text] as one padded tensor.
Tensor scatter_qformer_attentions(const QFormerRows& rows, Index heads,
                                  const std::vector<Tensor>& of_queries,
                                  const std::vector<Tensor>& of_text) {
  const Index queries = rows.query_length, length = queries + rows.text_length;
  Tensor padded(DType::Float32, {rows.batch, heads, length, length});
  for (Index b = 0; b < rows.batch; ++b) {
    const auto sample = static_cast<std::size_t>(b);
    const Index* columns = rows.columns.data() + rows.text.begin(b);
    const Index kept = rows.text.count(b);
    const auto place = [&](const std::vector<Tensor>& source, Index count, auto column_of) {
      if (source.empty() || count == 0) return;
      const float* from = source[sample].data<float>();
      for (Index h = 0; h < heads; ++h) {
        for (Index i = 0; i < count; ++i) {
          float* to = padded.data<float>() + ((b * heads + h) * length + column_of(i)) * length;
          to = std::copy_n(from, queries, to);
          for (Index j = 0; j < kept; ++j) to[columns[j]] = from[queries + j];
          from += queries + kept;
        }
      }
    };
    place(of_queries, queries, [](Index i) { return i; });
    place(of_text, kept, [&](Index i) { return queries + columns[i]; });
  }
  return padded;
}

}  // namespace detail

Tensor QFormerRows::scatter(MatrixView values) const {
  const Index length = query_length + text_length, width = values.cols;
  Tensor padded(DType::Float32, {batch, length, width});
  for (Index b = 0; b < batch; ++b) {
    float* sample = padded.data<float>() + b * length * width;
    for (Index i = 0; i < query_length; ++i) {
      std::copy_n(values.row(b * query_length + i), width, sample + i * width);
    }
    for (Index r = text.begin(b); r < text.begin(b + 1); ++r) {
      const Index column = query_length + columns[static_cast<std::size_t>(r)];
      std::copy_n(values.row(query_rows() + r), width, sample + column * width);
    }
  }
  return padded;
}

InstructBlipQFormerEmbeddings::InstructBlipQFormerEmbeddings(
    const Weights& weights, const InstructBlipQFormerConfig& config)
    : word_embeddings_(weights["word_embeddings"], config.vocab_size, config.hidden_size),
      position_embeddings_(weights["position_embeddings"], config.max_position_embeddings,
                           config.hidden_size),
      layernorm_(weights["layernorm"], config.hidden_size, config.layer_norm_eps) {}

void InstructBlipQFormerEmbeddings::add_text(const InstructBlipQFormerInputs& inputs,
                                             const QFormerRows& rows,
                                             MutableMatrixView text) const {
  const Tensor ids = Tensor::copy_of(inputs.input_ids).to(DType::Int64);
  Tensor given;
  if (inputs.position_ids.data != nullptr) {
    const Shape& shape = inputs.position_ids.shape;
    detail::check_qformer_tensor(
        inputs.position_ids,
        shape == Shape{rows.batch, rows.text_length} || shape == Shape{1, rows.text_length}, false,
        "position_ids", to_string(ids.shape()));
    given = Tensor::copy_of(inputs.position_ids).to(DType::Int64);
  }
  std::vector<std::int64_t> words, positions;
  for (Index b = 0; b < rows.batch; ++b) {
    for (Index r = rows.text.begin(b); r < rows.text.begin(b + 1); ++r) {
      const Index column = rows.columns[static_cast<std::size_t>(r)];
      const Index shared = !given.empty() && given.dim(0) == 1 ? 0 : b;
      words.push_back(ids.data<std::int64_t>()[b * rows.text_length + column]);
      positions.push_back(
          given.empty() ? column : given.data<std::int64_t>()[shared * rows.text_length + column]);
      const std::string where = "[" + std::to_string(b) + "][" + std::to_string(column) + "] is ";
      if (words.back() < 0 || words.back() >= word_embeddings_.num_embeddings()) {
        throw InputError("Q-Former: input_ids" + where + std::to_string(words.back()) +
                         ", expected an id from 0 to " +
                         std::to_string(word_embeddings_.num_embeddings() - 1));
      }
      if (positions.back() < 0 || positions.back() >= position_embeddings_.num_embeddings()) {
        throw InputError(
            "Q-Former: the position of input_ids" + where + std::to_string(positions.back()) +
            ", expected less than max_position_embeddings (" +
            std::to_string(position_embeddings_.num_embeddings()) + "); shorten the instruction");
      }
    }
  }
  word_embeddings_(words, text);
  const Matrix of_positions = position_embeddings_(positions);
  for (Index r = 0; r < text.rows; ++r) {
    for (Index d = 0; d < text.cols; ++d) text.row(r)[d] += of_positions.row(r)[d];
  }
}

Matrix InstructBlipQFormerEmbeddings::operator()(const InstructBlipQFormerInputs& inputs,
                                                 const QFormerRows& rows) const {
  Matrix embeddings(rows.rows(), word_embeddings_.embedding_dim());
  if (rows.query_length > 0) {
    const Matrix queries = Matrix::from(Tensor::copy_of(inputs.query_embeds).to(DType::Float32));
    for (Index r = 0; r < rows.query_rows(); ++r) {
      std::copy_n(queries.row(r % queries.rows()), queries.cols(), embeddings.row(r));
    }
  }
  if (rows.text.rows() > 0) {
    add_text(inputs, rows, embeddings.view().middle_rows(rows.query_rows(), rows.text.rows()));
  }
  layernorm_(embeddings, embeddings);
  return embeddings;
}

InstructBlipQFormerMultiHeadAttention::InstructBlipQFormerMultiHeadAttention(
    const Weights& weights, const InstructBlipQFormerConfig& config, bool is_cross_attention) {
  shape_.num_heads = shape_.num_key_value_heads = config.num_attention_heads;
  shape_.head_dim = config.hidden_size / config.num_attention_heads;
  shape_.scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
  all_head_size_ = shape_.num_heads * shape_.head_dim;
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

Matrix InstructBlipQFormerMultiHeadAttention::operator()(MatrixView hidden_states,
                                                         const QFormerRows& rows,
                                                         Tensor* attentions) const {
  const Matrix mixed = query_key_value_(hidden_states);
  const MatrixView query = mixed.view().middle_cols(0, all_head_size_);
  const MatrixView key = mixed.view().middle_cols(all_head_size_, all_head_size_);
  const MatrixView value = mixed.view().middle_cols(2 * all_head_size_, all_head_size_);

  // Queries and text of a sample lie apart; both see the queries' keys first, then the text's.
  std::vector<AttentionSequence> of_queries, of_text;
  std::vector<std::vector<std::uint8_t>> valid;
  valid.reserve(static_cast<std::size_t>(rows.batch));
  for (Index b = 0; b < rows.batch; ++b) {
    AttentionSequence sequence;
    const Index query_begin = b * rows.query_length;
    const Index text_begin = rows.query_rows() + rows.text.begin(b), text = rows.text.count(b);
    if (rows.query_length > 0) {
      sequence.keys.push_back(
          {key.row(query_begin), value.row(query_begin), rows.query_length, key.stride});
    }
    if (text > 0) {
      sequence.keys.push_back({key.row(text_begin), value.row(text_begin), text, key.stride});
    }
    if (!rows.query_valid.empty()) {
      const auto begin = rows.query_valid.begin() + query_begin;
      valid.emplace_back(begin, begin + rows.query_length);
      valid.back().resize(static_cast<std::size_t>(rows.query_length + text), 1);
      sequence.key_valid = valid.back().data();
    }
    sequence.query_begin = query_begin;
    sequence.query_count = rows.query_length;
    if (rows.query_length > 0) of_queries.push_back(sequence);
    sequence.query_begin = text_begin;
    sequence.query_count = text;
    of_text.push_back(sequence);
  }
  std::vector<Tensor> query_probabilities, text_probabilities;
  if (attentions != nullptr) {
    query_probabilities = capture_probabilities(of_queries, shape_.num_heads);
    text_probabilities = capture_probabilities(of_text, shape_.num_heads);
  }
  std::vector<AttentionSequence> sequences = of_queries;
  for (const AttentionSequence& sequence : of_text) {
    if (sequence.query_count > 0) sequences.push_back(sequence);
  }
  Matrix output = attend(query, shape_, sequences);
  if (attentions != nullptr) {
    *attentions = detail::scatter_qformer_attentions(rows, shape_.num_heads, query_probabilities,
                                                     text_probabilities);
  }
  return output;
}

Matrix InstructBlipQFormerMultiHeadAttention::operator()(MatrixView queries,
                                                         MatrixView encoder_hidden_states,
                                                         const QFormerRows& rows,
                                                         Tensor* attentions) const {
  const Matrix query = query_(queries);
  const Matrix mixed = key_value_(encoder_hidden_states);
  const MatrixView key = mixed.view().middle_cols(0, all_head_size_);
  const MatrixView value = mixed.view().middle_cols(all_head_size_, all_head_size_);

  std::vector<AttentionSequence> sequences =
      cross_attention(key, value, RowTable::uniform(rows.batch, rows.query_length), rows.image,
                      rows.image_valid.empty() ? nullptr : rows.image_valid.data());
  if (attentions != nullptr) {
    const Index keys = rows.image.count(0);
    *attentions = Tensor(DType::Float32, {rows.batch, shape_.num_heads, rows.query_length, keys});
    float* probabilities = attentions->data<float>();
    for (AttentionSequence& sequence : sequences) {
      sequence.probabilities = probabilities;
      probabilities += shape_.num_heads * rows.query_length * keys;
    }
  }
  return attend(query, shape_, sequences);
}

InstructBlipQFormerOutput::InstructBlipQFormerOutput(const Weights& weights, Index in_features,
                                                     const InstructBlipQFormerConfig& config)
    : dense_(weights["dense"], in_features, config.hidden_size),
      LayerNorm_(weights["LayerNorm"], config.hidden_size, config.layer_norm_eps) {}

void InstructBlipQFormerOutput::operator()(MatrixView hidden_states, MatrixView input_tensor,
                                           MutableMatrixView result) const {
  dense_(hidden_states, result, {.residual = input_tensor});
  LayerNorm_(result, result);
}

InstructBlipQFormerAttention::InstructBlipQFormerAttention(const Weights& weights,
                                                           const InstructBlipQFormerConfig& config,
                                                           bool is_cross_attention)
    : attention_(weights["attention"], config, is_cross_attention),
      output_(weights["output"], config.hidden_size, config) {}

void InstructBlipQFormerAttention::operator()(MutableMatrixView hidden_states,
                                              const QFormerRows& rows, Tensor* attentions) const {
  output_(attention_(hidden_states, rows, attentions), hidden_states, hidden_states);
}

void InstructBlipQFormerAttention::operator()(MutableMatrixView queries,
                                              MatrixView encoder_hidden_states,
                                              const QFormerRows& rows, Tensor* attentions) const {
  output_(attention_(queries, encoder_hidden_states, rows, attentions), queries, queries);
}

InstructBlipQFormerIntermediate::InstructBlipQFormerIntermediate(
    const Weights& weights, const InstructBlipQFormerConfig& config)
    : dense_(weights["dense"], config.hidden_size, config.intermediate_size),
      intermediate_act_fn_(activation_from_name(config.hidden_act)) {}

Matrix InstructBlipQFormerIntermediate::operator()(MatrixView hidden_states) const {
  return dense_(hidden_states, {.activation = intermediate_act_fn_});
}

InstructBlipQFormerLayer::InstructBlipQFormerLayer(const Weights& weights,
                                                   const InstructBlipQFormerConfig& config,
                                                   Index layer_idx)
    : attention_(weights["attention"], config),
      crossattention_(layer_idx % config.cross_attention_frequency == 0
                          ? std::make_optional<InstructBlipQFormerAttention>(
                                weights["crossattention"], config, true)
                          : std::nullopt),
      intermediate_(weights["intermediate"], config),
      output_(weights["output"], config.intermediate_size, config),
      intermediate_query_(weights["intermediate_query"], config),
      output_query_(weights["output_query"], config.intermediate_size, config) {}

void InstructBlipQFormerLayer::operator()(
    MutableMatrixView hidden_states, const QFormerRows& rows, MatrixView encoder_hidden_states,
    bool output_attentions, BaseModelOutputWithPoolingAndCrossAttentions& output) const {
  attention_(hidden_states, rows, output_attentions ? &output.attentions.emplace_back() : nullptr);
  if (rows.query_length > 0) {
    const MutableMatrixView queries = hidden_states.middle_rows(0, rows.query_rows());
    if (has_cross_attention()) {
      (*crossattention_)(queries, encoder_hidden_states, rows,
                         output_attentions ? &output.cross_attentions.emplace_back() : nullptr);
    }
    output_query_(intermediate_query_(queries), queries, queries);
  }
  if (rows.text.rows() > 0) {
    const MutableMatrixView text = hidden_states.middle_rows(rows.query_rows(), rows.text.rows());
    output_(intermediate_(text), text, text);
  }
}

InstructBlipQFormerEncoder::InstructBlipQFormerEncoder(const Weights& weights,
                                                       const InstructBlipQFormerConfig& config) {
  for (Index i = 0; i < config.num_hidden_layers; ++i) {
    layer_.emplace_back(weights["layer"][i], config, i);
  }
}

void InstructBlipQFormerEncoder::operator()(
    Matrix& hidden_states, const QFormerRows& rows, MatrixView encoder_hidden_states,
    const InstructBlipQFormerInputs& inputs,
    BaseModelOutputWithPoolingAndCrossAttentions& output) const {
  const auto capture = [&] {
    if (inputs.output_hidden_states) output.hidden_states.push_back(rows.scatter(hidden_states));
  };
  capture();
  for (const InstructBlipQFormerLayer& layer : layer_) {
    layer(hidden_states, rows, encoder_hidden_states, inputs.output_attentions, output);
    capture();
  }
}

InstructBlipQFormerModel::InstructBlipQFormerModel(const Weights& weights,
                                                   const InstructBlipQFormerConfig& config)
    : config_((config.validate(), config)),
      embeddings_(weights["embeddings"], config),
      encoder_(weights["encoder"], config) {}

InstructBlipQFormerModel InstructBlipQFormerModel::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  return detail::load_model<InstructBlipQFormerModel, InstructBlipQFormerConfig>(
      path, options, {"", "qformer"}, "embeddings.layernorm.weight");
}

BaseModelOutputWithPoolingAndCrossAttentions InstructBlipQFormerModel::forward(
    const InstructBlipQFormerInputs& inputs) const {
  const QFormerRows rows = detail::qformer_rows(inputs, config_);
  Matrix image;
  if (rows.query_length > 0) {
    image = detail::qformer_image(inputs.encoder_hidden_states, rows);
  }
  BaseModelOutputWithPoolingAndCrossAttentions output;
  Matrix hidden_states = embeddings_(inputs, rows);
  encoder_(hidden_states, rows, image, inputs, output);
  output.last_hidden_state = rows.scatter(hidden_states);

  const Index length = output.last_hidden_state.dim(1), width = config_.hidden_size;
  output.pooler_output = Tensor(DType::Float32, {rows.batch, width});
  for (Index b = 0; b < rows.batch; ++b) {
    std::copy_n(output.last_hidden_state.data<float>() + b * length * width, width,
                output.pooler_output.data<float>() + b * width);
  }
  return output;
}

}  // namespace instructblip
