#include "instructblip/models/modeling_llama.h"

#include <cmath>
#include <utility>

#include "instructblip/layers/activation.h"
#include "instructblip/layers/attention.h"
#include "instructblip/models/loss_utils.h"
#include "instructblip/models/tied_weights.h"

namespace instructblip {
namespace detail {

// Where a checkpoint with or without a head keeps the model.
Weights llama_model_scope(const Weights& weights) {
  return weights.at_first_prefix({"model", ""}, "norm.weight");
}

}  // namespace detail

LlamaAttention::LlamaAttention(const Weights& weights, const LlamaConfig& config, Index layer_idx)
    : shape_{.num_heads = config.num_attention_heads,
             .num_key_value_heads = config.resolved_num_key_value_heads(),
             .head_dim = config.resolved_head_dim(),
             .scale = 1.0f / std::sqrt(static_cast<float>(config.resolved_head_dim()))},
      layer_idx_(layer_idx),
      qkv_proj_({{weights["q_proj"], shape_.num_heads * shape_.head_dim},
                 {weights["k_proj"], shape_.num_key_value_heads * shape_.head_dim},
                 {weights["v_proj"], shape_.num_key_value_heads * shape_.head_dim}},
                config.hidden_size, config.attention_bias),
      o_proj_(weights["o_proj"], shape_.num_heads * shape_.head_dim, config.hidden_size,
              config.attention_bias) {}

void LlamaAttention::operator()(MatrixView hidden_states, const RotaryAngles& position_embeddings,
                                KvCache& cache, const RowTable& rows, MutableMatrixView residual,
                                std::vector<std::vector<Tensor>>* attentions) const {
  const Index query_width = shape_.num_heads * shape_.head_dim;
  const Index key_width = shape_.num_key_value_heads * shape_.head_dim;
  Matrix qkv = qkv_proj_(hidden_states);
  const MutableMatrixView query_states = qkv.view().middle_cols(0, query_width);
  const MutableMatrixView key_states = qkv.view().middle_cols(query_width, key_width);
  const MutableMatrixView value_states = qkv.view().middle_cols(query_width + key_width, key_width);
  apply_rotary(query_states, position_embeddings);
  apply_rotary(key_states, position_embeddings);
  cache.write(layer_idx_, key_states, value_states, rows);

  std::vector<AttentionSequence> sequences = cached_attention(cache, layer_idx_, rows);
  if (attentions != nullptr) {
    attentions->push_back(capture_probabilities(sequences, shape_.num_heads));
  }
  o_proj_(attend(query_states, shape_, sequences), residual, {.residual = residual});
}

LlamaMLP::LlamaMLP(const Weights& weights, const LlamaConfig& config)
    : gate_proj_(weights["gate_proj"], config.hidden_size, config.intermediate_size,
                 config.mlp_bias),
      up_proj_(weights["up_proj"], config.hidden_size, config.intermediate_size, config.mlp_bias),
      down_proj_(weights["down_proj"], config.intermediate_size, config.hidden_size,
                 config.mlp_bias),
      act_fn_(activation_from_name(config.hidden_act)) {}

void LlamaMLP::operator()(MatrixView hidden_states, MutableMatrixView residual) const {
  const Matrix up = up_proj_(hidden_states);
  const Matrix gated = gate_proj_(hidden_states, {.activation = act_fn_, .gate = up});
  down_proj_(gated, residual, {.residual = residual});
}

LlamaDecoderLayer::LlamaDecoderLayer(const Weights& weights, const LlamaConfig& config,
                                     Index layer_idx)
    : input_layernorm_(weights["input_layernorm"], config.hidden_size, config.rms_norm_eps),
      self_attn_(weights["self_attn"], config, layer_idx),
      post_attention_layernorm_(weights["post_attention_layernorm"], config.hidden_size,
                                config.rms_norm_eps),
      mlp_(weights["mlp"], config) {}

void LlamaDecoderLayer::operator()(MutableMatrixView hidden_states,
                                   const RotaryAngles& position_embeddings, KvCache& cache,
                                   const RowTable& rows,
                                   std::vector<std::vector<Tensor>>* attentions) const {
  self_attn_(input_layernorm_(hidden_states), position_embeddings, cache, rows, hidden_states,
             attentions);
  mlp_(post_attention_layernorm_(hidden_states), hidden_states);
}

LlamaModel::LlamaModel(const Weights& weights, const LlamaConfig& config)
    : config_((config.validate(), config)),
      embed_tokens_(weights["embed_tokens"], config.vocab_size, config.hidden_size),
      rotary_emb_(config.rope_parameters, config.resolved_head_dim(),
                  config.max_position_embeddings),
      norm_(weights["norm"], config.hidden_size, config.rms_norm_eps) {
  for (Index i = 0; i < config.num_hidden_layers; ++i) {
    layers_.emplace_back(weights["layers"][i], config, i);
  }
}

LlamaModel LlamaModel::from_pretrained(const std::filesystem::path& path,
                                       const LoadOptions& options) {
  return detail::load_model<LlamaModel, LlamaConfig>(
      path, options, {"", "model", "language_model.model", "language_model"}, "norm.weight");
}

KvCache LlamaModel::new_cache(Index sequences) const {
  return {config_.num_hidden_layers,
          config_.resolved_num_key_value_heads() * config_.resolved_head_dim(), sequences};
}

Matrix LlamaModel::operator()(MatrixView inputs_embeds, const RowTable& rows, KvCache& cache,
                              const ForwardCapture& capture, CapturedStates& states) const {
  check_rows("LlamaModel", inputs_embeds, rows, config_.hidden_size);
  cache.extend(rows);
  Matrix hidden_states = Matrix::copy_of(inputs_embeds);
  const RotaryAngles position_embeddings = rotary_emb_(rows);
  for (const LlamaDecoderLayer& decoder_layer : layers_) {
    if (capture.hidden_states) states.hidden_states.push_back(hidden_states.to_tensor());
    decoder_layer(hidden_states, position_embeddings, cache, rows,
                  capture.attentions ? &states.attentions : nullptr);
  }
  norm_(hidden_states, hidden_states);
  if (capture.hidden_states) states.hidden_states.push_back(hidden_states.to_tensor());
  return hidden_states;
}

BaseModelOutputWithPast LlamaModel::forward(const CausalLMInputs& inputs) const {
  EmbeddedBatch embedded =
      embed_batch(inputs.input_ids, inputs.inputs_embeds, inputs.attention_mask, embed_tokens_);
  PaddedBatch& batch = embedded.batch;
  if (inputs.position_ids.data != nullptr) batch.use_positions(inputs.position_ids);
  KvCache cache = new_cache(batch.batch);
  CapturedStates states;
  const Matrix last = (*this)(embedded.embeddings, batch.rows, cache, inputs.capture(), states);
  return {batch.scatter(last), batch.scatter(states.hidden_states),
          batch.scatter_attentions(states.attentions, batch)};
}

LlamaForCausalLM::LlamaForCausalLM(const Weights& weights, const LlamaConfig& config,
                                   bool with_head)
    : model_(detail::llama_model_scope(weights), config),
      traits_(traits_of(config, config.hidden_size)) {
  if (!with_head) return;
  const Weights head = weights["lm_head"];
  const Weights embedding = detail::llama_model_scope(weights)["embed_tokens"];
  const Shape shape{config.vocab_size, config.hidden_size};
  if (config.tie_word_embeddings && is_tied(head, embedding, shape)) {
    lm_head_ = Linear(model_.embed_tokens().weight(), head.name());
    return;
  }
  if (config.tie_word_embeddings) warn_untied(head, embedding);
  lm_head_ = Linear(head, config.hidden_size, config.vocab_size, false);
}

LlamaForCausalLM LlamaForCausalLM::from_pretrained(const std::filesystem::path& path,
                                                   const LoadOptions& options) {
  return detail::load_model<LlamaForCausalLM, LlamaConfig>(path, options, {"", "language_model"},
                                                           "model.norm.weight");
}

CausalLMOutputWithPast LlamaForCausalLM::forward(const CausalLMInputs& inputs) const {
  EmbeddedBatch embedded = embed_batch(inputs.input_ids, inputs.inputs_embeds,
                                       inputs.attention_mask, model_.embed_tokens());
  PaddedBatch& batch = embedded.batch;
  if (inputs.position_ids.data != nullptr) batch.use_positions(inputs.position_ids);
  KvCache cache = model_.new_cache(batch.batch);
  CapturedStates states;
  const Matrix last = model_(embedded.embeddings, batch.rows, cache, inputs.capture(), states);
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

Matrix LlamaForCausalLM::embed_tokens(std::span<const std::int64_t> ids) const {
  return model_.embed_tokens()(ids);
}

std::unique_ptr<DecoderState> LlamaForCausalLM::start(MatrixView, const RowTable& rows,
                                                      const ForwardCapture&) const {
  return std::make_unique<DecoderOnlyState>(model_.new_cache(rows.sequences()));
}

DecodeOutput LlamaForCausalLM::decode(DecoderState& state, MatrixView embeddings,
                                      const RowTable& rows, LogitsFor logits,
                                      const ForwardCapture& capture) const {
  auto& own = own_state<DecoderOnlyState>("LlamaForCausalLM", state, rows);
  DecodeOutput output;
  const Matrix last = model_(embeddings, rows, own.cache, capture, output.states);
  output.logits = compute_logits(last, rows, logits, lm_head_);
  output.last_hidden_state = last.to_tensor();
  return output;
}

}  // namespace instructblip
