#include "instructblip/models/modeling_t5.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "instructblip/layers/activation.h"
#include "instructblip/layers/attention.h"
#include "instructblip/models/loss_utils.h"
#include "instructblip/models/tied_weights.h"

namespace instructblip {
namespace detail {

AttentionShape t5_attention_shape(const T5Config& config) {
  return {.num_heads = config.num_heads,
          .num_key_value_heads = config.num_heads,
          .head_dim = config.d_kv,
          .scale = 1.0f};
}

// The embedding that all others are tied to: `shared`, or in a file without it one of them.
Weights t5_shared_scope(const Weights& weights) {
  return first_with_weight(
      {weights["shared"], weights["encoder"]["embed_tokens"], weights["decoder"]["embed_tokens"]});
}

// A stack's own embedding, where a file holds one that differs from the shared one.
Embedding t5_embedding(const Weights& weights, const Weights& shared_weights,
                       const T5Config& config, const Embedding& shared) {
  if (is_tied(weights, shared_weights, {config.vocab_size, config.d_model})) return shared;
  warn_untied(weights, shared_weights);
  return Embedding(weights, config.vocab_size, config.d_model);
}

Weights t5_scope(const std::filesystem::path& path, const LoadOptions& options) {
  return open_weights(path, options)
      .at_first_prefix({"", "language_model"}, "encoder.final_layer_norm.weight");
}

}  // namespace detail

T5DenseActDense::T5DenseActDense(const Weights& weights, const T5Config& config)
    : wo_(weights["wo"], config.d_ff, config.d_model, false),
      act_(activation_from_name(config.resolved_dense_act_fn(), "dense_act_fn")) {
  if (config.resolved_is_gated_act()) {
    wi_ = Linear(weights["wi_0"], config.d_model, config.d_ff, false);
    wi_1_ = Linear(weights["wi_1"], config.d_model, config.d_ff, false);
  } else {
    wi_ = Linear(weights["wi"], config.d_model, config.d_ff, false);
  }
}

void T5DenseActDense::operator()(MatrixView hidden_states, MutableMatrixView residual) const {
  Epilogue epilogue{.activation = act_};
  Matrix linear;
  if (wi_1_) {
    linear = (*wi_1_)(hidden_states);
    epilogue.gate = linear;
  }
  wo_(wi_(hidden_states, epilogue), residual, {.residual = residual});
}

T5LayerFF::T5LayerFF(const Weights& weights, const T5Config& config)
    : dense_relu_dense_(weights["DenseReluDense"], config),
      layer_norm_(weights["layer_norm"], config.d_model, config.layer_norm_epsilon) {}

void T5LayerFF::operator()(MutableMatrixView hidden_states) const {
  dense_relu_dense_(layer_norm_(hidden_states), hidden_states);
}

T5LayerSelfAttention::T5LayerSelfAttention(const Weights& weights, const T5Config& config,
                                           Index layer_idx)
    : shape_(detail::t5_attention_shape(config)),
      layer_idx_(layer_idx),
      qkv_({{weights["SelfAttention"]["q"], config.num_heads * config.d_kv},
            {weights["SelfAttention"]["k"], config.num_heads * config.d_kv},
            {weights["SelfAttention"]["v"], config.num_heads * config.d_kv}},
           config.d_model, false),
      o_(weights["SelfAttention"]["o"], config.num_heads * config.d_kv, config.d_model, false),
      layer_norm_(weights["layer_norm"], config.d_model, config.layer_norm_epsilon) {}

void T5LayerSelfAttention::operator()(MutableMatrixView hidden_states, const RowTable& rows,
                                      const std::vector<Tensor>& position_bias, KvCache* cache,
                                      std::vector<std::vector<Tensor>>* attentions) const {
  const Index inner_dim = shape_.num_heads * shape_.head_dim;
  const Matrix qkv = qkv_(layer_norm_(hidden_states));
  const MatrixView query_states = qkv.view().middle_cols(0, inner_dim);
  const MatrixView key_states = qkv.view().middle_cols(inner_dim, inner_dim);
  const MatrixView value_states = qkv.view().middle_cols(2 * inner_dim, inner_dim);
  std::vector<AttentionSequence> sequences;
  if (cache != nullptr) {
    cache->write(layer_idx_, key_states, value_states, rows);
    sequences = cached_attention(*cache, layer_idx_, rows);
  } else {
    sequences = self_attention(key_states, value_states, rows, false);
  }
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    sequences[s].bias = position_bias[s].data<float>();
    sequences[s].bias_query_stride = position_bias[s].dim(2);
    sequences[s].bias_head_stride = position_bias[s].dim(1) * position_bias[s].dim(2);
  }
  if (attentions != nullptr) {
    attentions->push_back(capture_probabilities(sequences, shape_.num_heads));
  }
  o_(attend(query_states, shape_, sequences), hidden_states, {.residual = hidden_states});
}

T5LayerCrossAttention::T5LayerCrossAttention(const Weights& weights, const T5Config& config)
    : shape_(detail::t5_attention_shape(config)),
      q_(weights["EncDecAttention"]["q"], config.d_model, config.num_heads * config.d_kv, false),
      kv_({{weights["EncDecAttention"]["k"], config.num_heads * config.d_kv},
           {weights["EncDecAttention"]["v"], config.num_heads * config.d_kv}},
          config.d_model, false),
      o_(weights["EncDecAttention"]["o"], config.num_heads * config.d_kv, config.d_model, false),
      layer_norm_(weights["layer_norm"], config.d_model, config.layer_norm_epsilon) {
  // Files of the first T5 hold one that nothing reads.
  weights["EncDecAttention"]["relative_attention_bias"].ignore();
}

T5EncoderKeyValues T5LayerCrossAttention::key_values(MatrixView encoder_hidden_states) const {
  return kv_(encoder_hidden_states);
}

void T5LayerCrossAttention::operator()(MutableMatrixView hidden_states, const RowTable& rows,
                                       const T5EncoderKeyValues& key_values,
                                       const RowTable& encoder_rows,
                                       const std::vector<Index>& sources,
                                       std::vector<std::vector<Tensor>>* attentions) const {
  const Index inner_dim = shape_.num_heads * shape_.head_dim;
  const MatrixView keys = key_values.view().middle_cols(0, inner_dim);
  const MatrixView values = key_values.view().middle_cols(inner_dim, inner_dim);
  const Matrix query_states = q_(layer_norm_(hidden_states));
  std::vector<AttentionSequence> sequences(sources.size());
  for (Index s = 0; s < rows.sequences(); ++s) {
    const Index source = sources[static_cast<std::size_t>(s)];
    const Index begin = encoder_rows.begin(source);
    AttentionSequence& sequence = sequences[static_cast<std::size_t>(s)];
    sequence.query_begin = rows.begin(s);
    sequence.query_count = rows.count(s);
    sequence.keys = {{keys.row(begin), values.row(begin), encoder_rows.count(source), keys.stride}};
  }
  if (attentions != nullptr) {
    attentions->push_back(capture_probabilities(sequences, shape_.num_heads));
  }
  o_(attend(query_states, shape_, sequences), hidden_states, {.residual = hidden_states});
}

T5Block::T5Block(const Weights& weights, const T5Config& config, bool is_decoder, Index layer_idx)
    : self_attention(weights["layer"][0], config, layer_idx),
      feed_forward(weights["layer"][is_decoder ? 2 : 1], config) {
  if (is_decoder) cross_attention.emplace(weights["layer"][1], config);
}

T5DecoderState::T5DecoderState(KvCache empty, const RowTable& encoder_row_table)
    : cache(std::move(empty)),
      positions(static_cast<std::size_t>(encoder_row_table.sequences())),
      encoder_rows(encoder_row_table) {
  for (Index s = 0; s < encoder_rows.sequences(); ++s) encoder_sequences.push_back(s);
}

void T5DecoderState::reorder(std::span<const Index> sources) {
  cache.reorder(sources);
  std::vector<std::vector<Index>> reordered_positions;
  std::vector<Index> reordered_sequences;
  for (const Index source : sources) {
    reordered_positions.push_back(positions[static_cast<std::size_t>(source)]);
    reordered_sequences.push_back(encoder_sequences[static_cast<std::size_t>(source)]);
  }
  positions = std::move(reordered_positions);
  encoder_sequences = std::move(reordered_sequences);
}

void T5DecoderState::truncate(Index sequence, Index length) {
  cache.truncate(sequence, length);
  positions[static_cast<std::size_t>(sequence)].resize(static_cast<std::size_t>(length));
}

T5Stack::T5Stack(const Weights& weights, const T5Config& config, bool is_decoder,
                 const Embedding& shared, const Weights& shared_weights)
    : embed_tokens_(detail::t5_embedding(weights["embed_tokens"], shared_weights, config, shared)),
      relative_attention_bias_(
          weights["block"][0]["layer"][0]["SelfAttention"]["relative_attention_bias"], config,
          !is_decoder),
      final_layer_norm_(weights["final_layer_norm"], config.d_model, config.layer_norm_epsilon) {
  const Index layers = is_decoder ? config.resolved_num_decoder_layers() : config.num_layers;
  for (Index i = 0; i < layers; ++i) {
    block_.emplace_back(weights["block"][i], config, is_decoder, i);
  }
}

Matrix T5Stack::encode(MatrixView inputs_embeds, const RowTable& rows,
                       const ForwardCapture& capture, CapturedStates& states) const {
  std::vector<std::vector<Index>> key_positions;
  for (Index s = 0; s < rows.sequences(); ++s) {
    key_positions.emplace_back(rows.positions.begin() + rows.begin(s),
                               rows.positions.begin() + rows.begin(s + 1));
  }
  const std::vector<Tensor> position_bias = relative_attention_bias_(rows, key_positions);
  Matrix hidden_states = Matrix::copy_of(inputs_embeds);
  for (const T5Block& block : block_) {
    if (capture.hidden_states) states.hidden_states.push_back(hidden_states.to_tensor());
    block.self_attention(hidden_states, rows, position_bias, nullptr,
                         capture.attentions ? &states.attentions : nullptr);
    block.feed_forward(hidden_states);
  }
  final_layer_norm_(hidden_states, hidden_states);
  if (capture.hidden_states) states.hidden_states.push_back(hidden_states.to_tensor());
  return hidden_states;
}

Matrix T5Stack::decode(MatrixView inputs_embeds, const RowTable& rows, T5DecoderState& state,
                       const ForwardCapture& capture, CapturedStates& states) const {
  for (Index s = 0; s < rows.sequences(); ++s) {
    std::vector<Index>& positions = state.positions[static_cast<std::size_t>(s)];
    positions.insert(positions.end(), rows.positions.begin() + rows.begin(s),
                     rows.positions.begin() + rows.begin(s + 1));
  }
  state.cache.extend(rows);
  const std::vector<Tensor> position_bias = relative_attention_bias_(rows, state.positions);
  Matrix hidden_states = Matrix::copy_of(inputs_embeds);
  for (std::size_t i = 0; i < block_.size(); ++i) {
    if (capture.hidden_states) states.hidden_states.push_back(hidden_states.to_tensor());
    block_[i].self_attention(hidden_states, rows, position_bias, &state.cache,
                             capture.attentions ? &states.attentions : nullptr);
    (*block_[i].cross_attention)(hidden_states, rows, state.encoder_key_values[i],
                                 state.encoder_rows, state.encoder_sequences,
                                 capture.attentions ? &states.cross_attentions : nullptr);
    block_[i].feed_forward(hidden_states);
  }
  final_layer_norm_(hidden_states, hidden_states);
  if (capture.hidden_states) states.hidden_states.push_back(hidden_states.to_tensor());
  return hidden_states;
}

std::vector<T5EncoderKeyValues> T5Stack::key_values(MatrixView encoder_hidden_states) const {
  std::vector<T5EncoderKeyValues> key_values;
  for (const T5Block& block : block_) {
    key_values.push_back(block.cross_attention->key_values(encoder_hidden_states));
  }
  return key_values;
}

T5EncoderModel::T5EncoderModel(const Weights& weights, const T5Config& config)
    : config_((config.validate(), config)),
      shared_(detail::t5_shared_scope(weights), config.vocab_size, config.d_model),
      encoder_(weights["encoder"], config, false, shared_, detail::t5_shared_scope(weights)) {}

T5EncoderModel T5EncoderModel::from_pretrained(const std::filesystem::path& path,
                                               const LoadOptions& options) {
  const T5Config config = T5Config::from_pretrained(path);
  const Weights weights = detail::t5_scope(path, options);
  T5EncoderModel model(weights, config);
  weights["decoder"].ignore();
  weights["lm_head"].ignore();
  weights.finish();
  return model;
}

BaseModelOutput T5EncoderModel::forward(const Seq2SeqInputs& inputs) const {
  const EmbeddedBatch embedded = embed_batch(inputs.input_ids, inputs.inputs_embeds,
                                             inputs.attention_mask, encoder_.embed_tokens());
  const PaddedBatch& batch = embedded.batch;
  check_rows("T5EncoderModel", embedded.embeddings, batch.rows, config_.d_model);
  CapturedStates states;
  const Matrix last = encoder_.encode(embedded.embeddings, batch.rows, inputs.capture(), states);
  return {batch.scatter(last), batch.scatter(states.hidden_states),
          batch.scatter_attentions(states.attentions, batch)};
}

T5Model::T5Model(const Weights& weights, const T5Config& config)
    : config_((config.validate(), config)),
      shared_(detail::t5_shared_scope(weights), config.vocab_size, config.d_model),
      encoder_(weights["encoder"], config, false, shared_, detail::t5_shared_scope(weights)),
      decoder_(weights["decoder"], config, true, shared_, detail::t5_shared_scope(weights)) {}

T5Model T5Model::from_pretrained(const std::filesystem::path& path, const LoadOptions& options) {
  const T5Config config = T5Config::from_pretrained(path);
  const Weights weights = detail::t5_scope(path, options);
  T5Model model(weights, config);
  weights["lm_head"].ignore();
  weights.finish();
  return model;
}

std::unique_ptr<T5DecoderState> T5Model::start(MatrixView inputs_embeds, const RowTable& rows,
                                               const ForwardCapture& capture) const {
  check_rows("T5Model", inputs_embeds, rows, config_.d_model);
  auto state =
      std::make_unique<T5DecoderState>(KvCache(config_.resolved_num_decoder_layers(),
                                               config_.num_heads * config_.d_kv, rows.sequences()),
                                       rows);
  const Matrix hidden = encoder_.encode(inputs_embeds, rows, capture, state->encoder_captured);
  state->encoder_key_values = decoder_.key_values(hidden);
  state->encoder_hidden = hidden.to_tensor();
  return state;
}

namespace detail {

// What T5Model and T5ForConditionalGeneration compute alike for a padded batch.
struct T5Forward {
  PaddedBatch batch, decoder_batch;
  std::unique_ptr<T5DecoderState> state;
  Matrix last;
  CapturedStates states;
};

T5Forward t5_forward(const T5Model& model, const Seq2SeqInputs& inputs) {
  T5Forward run;
  EmbeddedBatch prompt = embed_batch(inputs.input_ids, inputs.inputs_embeds, inputs.attention_mask,
                                     model.encoder().embed_tokens());
  if (inputs.decoder_input_ids.data == nullptr && inputs.decoder_inputs_embeds.data == nullptr) {
    throw InputError("T5: decoder_input_ids, decoder_inputs_embeds or labels are required");
  }
  EmbeddedBatch answer =
      embed_batch(inputs.decoder_input_ids, inputs.decoder_inputs_embeds,
                  inputs.decoder_attention_mask, model.decoder().embed_tokens(), "decoder_");
  if (prompt.batch.batch != answer.batch.batch) {
    throw InputError("T5: " + std::to_string(prompt.batch.batch) + " rows for the encoder, but " +
                     std::to_string(answer.batch.batch) + " for the decoder");
  }
  check_rows("T5Model", answer.embeddings, answer.batch.rows, model.config().d_model);
  run.state = model.start(prompt.embeddings, prompt.batch.rows, inputs.capture());
  run.last = model.decoder().decode(answer.embeddings, answer.batch.rows, *run.state,
                                    inputs.capture(), run.states);
  run.batch = std::move(prompt.batch);
  run.decoder_batch = std::move(answer.batch);
  return run;
}

// The fields that both outputs have.
template <class Output>
void fill_t5_output(const T5Forward& run, Output& output) {
  const CapturedStates& encoder = run.state->encoder_captured;
  const PaddedBatch &batch = run.batch, &decoder_batch = run.decoder_batch;
  output.decoder_hidden_states = decoder_batch.scatter(run.states.hidden_states);
  output.decoder_attentions =
      decoder_batch.scatter_attentions(run.states.attentions, decoder_batch);
  output.cross_attentions = decoder_batch.scatter_attentions(run.states.cross_attentions, batch);
  output.encoder_last_hidden_state = batch.scatter(Matrix::from(run.state->encoder_hidden));
  output.encoder_hidden_states = batch.scatter(encoder.hidden_states);
  output.encoder_attentions = batch.scatter_attentions(encoder.attentions, batch);
}

}  // namespace detail

Seq2SeqModelOutput T5Model::forward(const Seq2SeqInputs& inputs) const {
  const detail::T5Forward run = detail::t5_forward(*this, inputs);
  Seq2SeqModelOutput output;
  output.last_hidden_state = run.decoder_batch.scatter(run.last);
  detail::fill_t5_output(run, output);
  return output;
}

T5ForConditionalGeneration::T5ForConditionalGeneration(const Weights& weights,
                                                       const T5Config& config, bool with_head)
    : model_(weights, config), traits_(traits_of(config, config.d_model)) {
  if (!with_head) return;
  // Tied or not is decided by the file, whatever tie_word_embeddings says.
  const Weights head = weights["lm_head"];
  const Shape shape{config.vocab_size, config.d_model};
  lm_head_ = is_tied(head, detail::t5_shared_scope(weights), shape)
                 ? Linear(model_.shared().weight(), head.name())
                 : Linear(head, config.d_model, config.vocab_size, false);
}

T5ForConditionalGeneration T5ForConditionalGeneration::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  const T5Config config = T5Config::from_pretrained(path);
  const Weights weights = detail::t5_scope(path, options);
  T5ForConditionalGeneration model(weights, config);
  weights.finish();
  return model;
}

float T5ForConditionalGeneration::output_scale() const {
  const T5Config& config = model_.config();
  return config.scale_decoder_outputs ? 1.0f / std::sqrt(static_cast<float>(config.d_model)) : 1.0f;
}

Seq2SeqLMOutput T5ForConditionalGeneration::forward(const Seq2SeqInputs& inputs) const {
  Seq2SeqInputs complete = inputs;
  Tensor shifted;
  if (inputs.labels.data != nullptr && inputs.decoder_input_ids.data == nullptr &&
      inputs.decoder_inputs_embeds.data == nullptr) {
    shifted = shift_tokens_right(inputs.labels, model_.config().decoder_start_token_id,
                                 model_.config().pad_token_id);
    complete.decoder_input_ids = shifted;
  }
  const detail::T5Forward run = detail::t5_forward(model_, complete);
  const Matrix logits = lm_head_(run.last, {.scale = output_scale()});
  Seq2SeqLMOutput output;
  if (inputs.labels.data != nullptr) {
    output.loss = cross_entropy(logits, run.decoder_batch.gather_ids(inputs.labels));
  }
  output.logits = run.decoder_batch.scatter(logits);
  detail::fill_t5_output(run, output);
  return output;
}

Matrix T5ForConditionalGeneration::embed_tokens(std::span<const std::int64_t> ids) const {
  return model_.shared()(ids);
}

Matrix T5ForConditionalGeneration::embed_decoder_tokens(std::span<const std::int64_t> ids) const {
  return model_.decoder().embed_tokens()(ids);
}

std::unique_ptr<DecoderState> T5ForConditionalGeneration::start(
    MatrixView prompt, const RowTable& rows, const ForwardCapture& capture) const {
  return model_.start(prompt, rows, capture);
}

DecodeOutput T5ForConditionalGeneration::decode(DecoderState& state, MatrixView embeddings,
                                                const RowTable& rows, LogitsFor logits,
                                                const ForwardCapture& capture) const {
  auto& own = own_state<T5DecoderState>("T5ForConditionalGeneration", state, rows);
  check_rows("T5ForConditionalGeneration", embeddings, rows, model_.config().d_model);
  DecodeOutput output;
  const Matrix last = model_.decoder().decode(embeddings, rows, own, capture, output.states);
  output.logits = compute_logits(last, rows, logits, lm_head_, output_scale());
  output.last_hidden_state = last.to_tensor();
  return output;
}

}  // namespace instructblip
