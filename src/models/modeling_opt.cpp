#include "instructblip/models/modeling_opt.h"

#include <cmath>
#include <string>
#include <utility>

#include "instructblip/layers/activation.h"
#include "instructblip/layers/attention.h"
#include "instructblip/models/loss_utils.h"
#include "instructblip/models/tied_weights.h"

namespace instructblip {
namespace detail {

// The reference builds every norm of OPT with torch's default.
inline constexpr double kOptLayerNormEps = 1e-5;

LayerNorm opt_layer_norm(const Weights& weights, const OPTConfig& config) {
  if (!config.layer_norm_elementwise_affine) {
    return LayerNorm(config.hidden_size, kOptLayerNormEps);
  }
  return LayerNorm(weights, config.hidden_size, kOptLayerNormEps);
}

// Where a checkpoint with or without a head keeps the model.
Weights opt_model_scope(const Weights& weights) {
  return weights.at_first_prefix({"model", ""}, "decoder.embed_positions.weight");
}

PaddedBatch& place_rows(PaddedBatch& batch, const CausalLMInputs& inputs) {
  if (inputs.position_ids.data != nullptr) {
    batch.use_positions(inputs.position_ids);
  } else {
    batch.use_compact_positions();
  }
  return batch;
}

}  // namespace detail

OPTLearnedPositionalEmbedding::OPTLearnedPositionalEmbedding(const Weights& weights,
                                                             const OPTConfig& config)
    : max_position_embeddings_(config.max_position_embeddings),
      table_(weights, config.max_position_embeddings + offset, config.hidden_size) {}

void OPTLearnedPositionalEmbedding::add_to(MutableMatrixView hidden_states,
                                           const RowTable& rows) const {
  std::vector<std::int64_t> table_rows;
  table_rows.reserve(rows.positions.size());
  for (const Index position : rows.positions) {
    if (position < 0 || position >= max_position_embeddings_) {
      throw InputError("OPT: position " + std::to_string(position) +
                       " is beyond the position table, which ends at " +
                       std::to_string(max_position_embeddings_ - 1) + " (max_position_embeddings " +
                       std::to_string(max_position_embeddings_) +
                       "); shorten the prompt or the answer");
    }
    table_rows.push_back(position + offset);
  }
  const Matrix positions = table_(table_rows);
  for (Index r = 0; r < hidden_states.rows; ++r) {
    for (Index c = 0; c < hidden_states.cols; ++c) hidden_states.row(r)[c] += positions.row(r)[c];
  }
}

OPTAttention::OPTAttention(const Weights& weights, const OPTConfig& config, Index layer_idx)
    : shape_{.num_heads = config.num_attention_heads,
             .num_key_value_heads = config.num_attention_heads,
             .head_dim = config.hidden_size / config.num_attention_heads,
             .scale = 1.0f / std::sqrt(static_cast<float>(config.hidden_size /
                                                          config.num_attention_heads))},
      layer_idx_(layer_idx),
      qkv_proj_({{weights["q_proj"], config.hidden_size},
                 {weights["k_proj"], config.hidden_size},
                 {weights["v_proj"], config.hidden_size}},
                config.hidden_size, config.enable_bias),
      out_proj_(weights["out_proj"], config.hidden_size, config.hidden_size, config.enable_bias) {}

void OPTAttention::operator()(MatrixView hidden_states, KvCache& cache, const RowTable& rows,
                              MutableMatrixView residual,
                              std::vector<std::vector<Tensor>>* attentions) const {
  const Index width = hidden_states.cols;
  const Matrix qkv = qkv_proj_(hidden_states);
  const MatrixView query_states = qkv.view().middle_cols(0, width);
  cache.write(layer_idx_, qkv.view().middle_cols(width, width),
              qkv.view().middle_cols(2 * width, width), rows);

  std::vector<AttentionSequence> sequences = cached_attention(cache, layer_idx_, rows);
  if (attentions != nullptr) {
    attentions->push_back(capture_probabilities(sequences, shape_.num_heads));
  }
  out_proj_(attend(query_states, shape_, sequences), residual, {.residual = residual});
}

OPTDecoderLayer::OPTDecoderLayer(const Weights& weights, const OPTConfig& config, Index layer_idx)
    : do_layer_norm_before_(config.do_layer_norm_before),
      self_attn_(weights["self_attn"], config, layer_idx),
      self_attn_layer_norm_(detail::opt_layer_norm(weights["self_attn_layer_norm"], config)),
      fc1_(weights["fc1"], config.hidden_size, config.ffn_dim, config.enable_bias),
      fc2_(weights["fc2"], config.ffn_dim, config.hidden_size, config.enable_bias),
      final_layer_norm_(detail::opt_layer_norm(weights["final_layer_norm"], config)),
      activation_fn_(activation_from_name(config.activation_function, "activation_function")) {}

void OPTDecoderLayer::operator()(MutableMatrixView hidden_states, KvCache& cache,
                                 const RowTable& rows,
                                 std::vector<std::vector<Tensor>>* attentions) const {
  const Epilogue activation{.activation = activation_fn_};
  const Epilogue add_residual{.residual = hidden_states};
  if (do_layer_norm_before_) {
    self_attn_(self_attn_layer_norm_(hidden_states), cache, rows, hidden_states, attentions);
    fc2_(fc1_(final_layer_norm_(hidden_states), activation), hidden_states, add_residual);
  } else {
    self_attn_(Matrix::copy_of(hidden_states), cache, rows, hidden_states, attentions);
    self_attn_layer_norm_(hidden_states, hidden_states);
    fc2_(fc1_(hidden_states, activation), hidden_states, add_residual);
    final_layer_norm_(hidden_states, hidden_states);
  }
}

OPTDecoder::OPTDecoder(const Weights& weights, const OPTConfig& config)
    : word_embed_proj_dim_(config.resolved_word_embed_proj_dim()),
      embed_tokens_(weights["embed_tokens"], config.vocab_size, word_embed_proj_dim_),
      embed_positions_(weights["embed_positions"], config) {
  if (word_embed_proj_dim_ != config.hidden_size) {
    project_in_.emplace(weights["project_in"], word_embed_proj_dim_, config.hidden_size, false);
    project_out_.emplace(weights["project_out"], config.hidden_size, word_embed_proj_dim_, false);
  }
  for (Index i = 0; i < config.num_hidden_layers; ++i) {
    layers_.emplace_back(weights["layers"][i], config, i);
  }
  if (config.do_layer_norm_before && !config.remove_final_layer_norm) {
    final_layer_norm_ = detail::opt_layer_norm(weights["final_layer_norm"], config);
  }
}

Matrix OPTDecoder::operator()(MatrixView inputs_embeds, const RowTable& rows, KvCache& cache,
                              const ForwardCapture& capture, CapturedStates& states) const {
  check_rows("OPTModel", inputs_embeds, rows, word_embed_proj_dim_);
  Matrix hidden_states =
      project_in_ ? (*project_in_)(inputs_embeds) : Matrix::copy_of(inputs_embeds);
  embed_positions_.add_to(hidden_states, rows);
  cache.extend(rows);
  for (const OPTDecoderLayer& decoder_layer : layers_) {
    if (capture.hidden_states) states.hidden_states.push_back(hidden_states.to_tensor());
    decoder_layer(hidden_states, cache, rows, capture.attentions ? &states.attentions : nullptr);
  }
  if (final_layer_norm_) (*final_layer_norm_)(hidden_states, hidden_states);
  if (project_out_) hidden_states = (*project_out_)(hidden_states);
  if (capture.hidden_states) states.hidden_states.push_back(hidden_states.to_tensor());
  return hidden_states;
}

OPTModel::OPTModel(const Weights& weights, const OPTConfig& config)
    : config_((config.validate(), config)), decoder_(weights["decoder"], config) {}

OPTModel OPTModel::from_pretrained(const std::filesystem::path& path, const LoadOptions& options) {
  return detail::load_model<OPTModel, OPTConfig>(
      path, options, {"", "model", "language_model.model", "language_model"},
      "decoder.embed_positions.weight");
}

KvCache OPTModel::new_cache(Index sequences) const {
  return {config_.num_hidden_layers, config_.hidden_size, sequences};
}

BaseModelOutputWithPast OPTModel::forward(const CausalLMInputs& inputs) const {
  EmbeddedBatch embedded = embed_batch(inputs.input_ids, inputs.inputs_embeds,
                                       inputs.attention_mask, decoder_.embed_tokens());
  const PaddedBatch& batch = detail::place_rows(embedded.batch, inputs);
  KvCache cache = new_cache(batch.batch);
  CapturedStates states;
  const Matrix last = decoder_(embedded.embeddings, batch.rows, cache, inputs.capture(), states);
  return {batch.scatter(last), batch.scatter(states.hidden_states),
          batch.scatter_attentions(states.attentions, batch)};
}

OPTForCausalLM::OPTForCausalLM(const Weights& weights, const OPTConfig& config, bool with_head)
    : model_(detail::opt_model_scope(weights), config),
      traits_(traits_of(config, config.resolved_word_embed_proj_dim())) {
  traits_.forward_positions_from_mask = true;
  if (!with_head) return;
  const Weights head = weights["lm_head"];
  const Weights embedding = detail::opt_model_scope(weights)["decoder"]["embed_tokens"];
  const Index width = config.resolved_word_embed_proj_dim();
  if (config.tie_word_embeddings && is_tied(head, embedding, {config.vocab_size, width})) {
    lm_head_ = Linear(model_.decoder().embed_tokens().weight(), head.name());
    return;
  }
  if (config.tie_word_embeddings) warn_untied(head, embedding);
  lm_head_ = Linear(head, width, config.vocab_size, false);
}

OPTForCausalLM OPTForCausalLM::from_pretrained(const std::filesystem::path& path,
                                               const LoadOptions& options) {
  return detail::load_model<OPTForCausalLM, OPTConfig>(path, options, {"", "language_model"},
                                                       "model.decoder.embed_positions.weight");
}

CausalLMOutputWithPast OPTForCausalLM::forward(const CausalLMInputs& inputs) const {
  EmbeddedBatch embedded = embed_batch(inputs.input_ids, inputs.inputs_embeds,
                                       inputs.attention_mask, model_.decoder().embed_tokens());
  const PaddedBatch& batch = detail::place_rows(embedded.batch, inputs);
  KvCache cache = model_.new_cache(batch.batch);
  CapturedStates states;
  const Matrix last =
      model_.decoder()(embedded.embeddings, batch.rows, cache, inputs.capture(), states);
  const Matrix logits = lm_head_(last);

  CausalLMOutputWithPast output;
  if (inputs.labels.data != nullptr) {
    output.loss = for_causal_lm_loss(logits, inputs.labels, batch);
  }
  output.logits = batch.scatter(logits);
  output.hidden_states = batch.scatter(states.hidden_states);
  output.attentions = batch.scatter_attentions(states.attentions, batch);
  return output;
}

Matrix OPTForCausalLM::embed_tokens(std::span<const std::int64_t> ids) const {
  return model_.decoder().embed_tokens()(ids);
}

std::unique_ptr<DecoderState> OPTForCausalLM::start(MatrixView, const RowTable& rows,
                                                    const ForwardCapture&) const {
  return std::make_unique<DecoderOnlyState>(model_.new_cache(rows.sequences()));
}

DecodeOutput OPTForCausalLM::decode(DecoderState& state, MatrixView embeddings,
                                    const RowTable& rows, LogitsFor logits,
                                    const ForwardCapture& capture) const {
  auto& own = own_state<DecoderOnlyState>("OPTForCausalLM", state, rows);
  DecodeOutput output;
  const Matrix last = model_.decoder()(embeddings, rows, own.cache, capture, output.states);
  output.logits = compute_logits(last, rows, logits, lm_head_);
  output.last_hidden_state = last.to_tensor();
  return output;
}

}  // namespace instructblip
