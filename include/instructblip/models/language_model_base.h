// What the language models share: loading from a folder, the interface of
// generation/language_model.h, and the output head with its tied weights.
//
// A language model has two classes: one without a head, derived from LanguageModel (LlamaModel),
// and LanguageModelWithHead<LlamaModel> (LlamaForCausalLM). A decoder-only model derives from
// DecoderOnlyModel and defines its layers, its embedding and the size of its cache.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/configuration/text_config.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/layers/embedding.h"
#include "instructblip/layers/kv_cache.h"
#include "instructblip/layers/linear.h"
#include "instructblip/models/loading.h"

namespace instructblip {
namespace detail {

/// The traits of a model without a head, from its configuration.
inline LanguageModelTraits traits_of(const TextConfig& config, Index embedding_size) {
  LanguageModelTraits traits;
  traits.is_encoder_decoder = !config.is_decoder_only();
  traits.vocab_size = config.vocab_size;
  traits.embedding_size = embedding_size;
  traits.max_position_embeddings = config.get_max_position_embeddings();
  traits.bos_token_id = config.bos_token_id;
  traits.eos_token_id = config.eos_token_id;
  traits.pad_token_id = config.pad_token_id;
  traits.decoder_start_token_id = config.decoder_start_token_id;
  traits.has_head = false;
  return traits;
}

/// Throws InputError, naming `model`, unless `embeddings` is [rows.rows(), width].
inline void check_rows(std::string_view model, MatrixView embeddings, const RowTable& rows,
                       Index width) {
  if (embeddings.rows != rows.rows() || (rows.rows() > 0 && embeddings.cols != width) ||
      static_cast<Index>(rows.positions.size()) != rows.rows()) {
    throw InputError(std::string(model) + ": embeddings [" + std::to_string(embeddings.rows) +
                     ", " + std::to_string(embeddings.cols) + "] and " +
                     std::to_string(rows.positions.size()) + " positions, expected [" +
                     std::to_string(rows.rows()) + ", " + std::to_string(width) +
                     "] and one position per row");
  }
}

/// The state as a `State`. Throws InputError if another class of model created it, or if it holds a
/// different number of sequences than `rows`.
template <class State>
State& own_state(std::string_view model, DecoderState& state, const RowTable& rows) {
  auto* own = dynamic_cast<State*>(&state);
  if (own == nullptr) {
    throw InputError(std::string(model) + ": the state was created by another class of model");
  }
  if (state.sequences() != rows.sequences()) {
    throw InputError(std::string(model) + ": the rows belong to " +
                     std::to_string(rows.sequences()) + " sequences, but the state holds " +
                     std::to_string(state.sequences()));
  }
  return *own;
}

/// Throws InputError unless no logits are requested, which a model without a head cannot compute.
inline void check_headless(LogitsFor logits) {
  if (logits != LogitsFor::None) {
    throw InputError("the language model was loaded without its head and cannot compute logits");
  }
}

/// Whether `copy` shares the `weight` of `source`: the checkpoint has no tensor for `copy`, or one
/// with the same elements. A tensor that differs is used as it is, as in the reference.
inline bool is_tied(const Weights& copy, const Weights& source, const Shape& shape) {
  if (copy.name() == source.name()) return true;
  if (quantized_form(copy) != nullptr) return false;
  const std::optional<SharedTensor> found = copy["weight"].find(shape);
  if (!found || found->data == nullptr) return !copy["weight"].exists();
  const std::optional<SharedTensor> original = source["weight"].find(shape);
  return !original || original->data == nullptr || same_elements(*found, *original);
}

inline void warn_untied(const Weights& copy, const Weights& source) {
  log_warning(copy.where() + ": " + copy.name() + ".weight differs from " + source.name() +
              ".weight, although the configuration ties them; it is used as it is. If that is "
              "intended, set \"tie_word_embeddings\": false in config.json");
}

/// Applies the head to the requested rows. With LogitsFor::LastRow, a sequence without rows gets
/// zeros.
inline Tensor compute_logits(MatrixView hidden_states, const RowTable& rows, LogitsFor wanted,
                             const Linear& lm_head, float scale) {
  if (wanted == LogitsFor::None) return {};
  // scale * (x W^T) equals (scale * x) W^T up to rounding.
  const Epilogue epilogue{.scale = scale};
  if (wanted == LogitsFor::AllRows) return lm_head(hidden_states, epilogue).to_tensor();

  std::vector<Index> sequences, last_rows;
  for (Index s = 0; s < rows.sequences(); ++s) {
    if (rows.count(s) == 0) continue;
    sequences.push_back(s);
    last_rows.push_back(rows.begin(s + 1) - 1);
  }
  Matrix last(static_cast<Index>(last_rows.size()), hidden_states.cols);
  gather_rows(hidden_states, last_rows, last);
  Tensor logits(DType::Float32, {rows.sequences(), lm_head.out_features()});
  scatter_rows(lm_head(last, epilogue), sequences, as_rows(logits));
  return logits;
}

}  // namespace detail

/// The state of a decoder-only model, which is its cache.
class DecoderOnlyState : public DecoderState {
 public:
  explicit DecoderOnlyState(KvCache empty) : cache(std::move(empty)) {}

  Index sequences() const override { return cache.sequences(); }
  Index length(Index sequence) const override { return cache.length(sequence); }
  void reorder(std::span<const Index> sources) override { cache.reorder(sources); }
  void truncate(Index sequence, Index length) override { cache.truncate(sequence, length); }

  KvCache cache;
};

/// A decoder-only model without its head. `Model` derives from this class and defines
/// - kName, for messages;
/// - kProbe, the name of a tensor that every checkpoint of the model has;
/// - get_input_embeddings();
/// - new_cache(sequences), an empty cache;
/// - operator()(inputs_embeds, rows, cache, states): inputs_embeds [rows, embedding_size], which
///   continue the sequences in the cache -> last hidden state [rows, embedding_size].
template <class Model, class ModelConfig>
class DecoderOnlyModel : public LanguageModel {
 public:
  using Config = ModelConfig;

  /// Loads the model's own folder, that of the model with its head, or its part of an InstructBLIP
  /// checkpoint. Throws ConfigError or CheckpointError.
  static Model from_pretrained(const std::filesystem::path& path, const LoadOptions& options = {}) {
    return detail::load_model<Model>(
        path, options, {"", "model", "language_model.model", "language_model"}, Model::kProbe);
  }
  /// The scope of the model's tensors in a checkpoint with or without a head.
  static Weights scope(const Weights& weights) {
    return weights.at_first_prefix({"model", ""}, Model::kProbe);
  }
  /// kProbe in a checkpoint with a head.
  static std::string probe_with_head() { return "model." + std::string(Model::kProbe); }

  const Config& config() const { return config_; }
  const LanguageModelTraits& traits() const final { return traits_; }
  Matrix embed_tokens(std::span<const std::int64_t> ids) const final {
    return self().get_input_embeddings()(ids);
  }
  std::unique_ptr<DecoderState> start(MatrixView, const RowTable& rows,
                                      const ForwardCapture&) const final {
    return std::make_unique<DecoderOnlyState>(self().new_cache(rows.sequences()));
  }
  DecodeOutput decode(DecoderState& state, MatrixView embeddings, const RowTable& rows,
                      LogitsFor logits, const ForwardCapture& capture) const final {
    detail::check_headless(logits);
    auto& own = detail::own_state<DecoderOnlyState>(Model::kName, state, rows);
    detail::check_rows(Model::kName, embeddings, rows, traits_.embedding_size);
    DecodeOutput output;
    output.states = StateRecorder(capture);
    output.last_hidden_state = self()(embeddings, rows, own.cache, output.states);
    return output;
  }

 protected:
  DecoderOnlyModel(const Config& config, Index embedding_size)
      : config_(validated(config)), traits_(detail::traits_of(config, embedding_size)) {}

  Config config_;
  LanguageModelTraits traits_;

 private:
  const Model& self() const { return static_cast<const Model&>(*this); }
};

/// A language model with its output head. Immutable; safe to call from several threads.
///
/// `Model` is a LanguageModel without a head and also defines
/// - scope(weights), scope_with_head(weights): the scope of its tensors in a checkpoint;
/// - embedding_scope(weights): the scope of its input embeddings below that;
/// - kTiedUnlessStored: whether the head is tied even if tie_word_embeddings is false, unless the
///   checkpoint has a tensor for it;
/// - output_scale(): the factor on the logits;
/// - new_cache(sequences): an empty cache.
template <class Model>
class LanguageModelWithHead : public LanguageModel {
 public:
  using Config = typename Model::Config;
  using Headless = Model;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  LanguageModelWithHead(const Weights& weights, const Config& config)
      : model_(Model::scope(weights), config), traits_(model_.traits()) {
    traits_.has_head = true;
    traits_.bytes_per_sequence = model_.new_cache(0).block_bytes();
    const Weights head = weights["lm_head"].quantized(weights.recipe().lm_head);
    const Weights embedding = Model::embedding_scope(Model::scope(weights));
    const bool tie = Model::kTiedUnlessStored || config.tie_word_embeddings;
    if (tie && detail::is_tied(head, embedding, {traits_.vocab_size, traits_.embedding_size})) {
      embedding["weight"].read_ahead();
      lm_head_ = Linear(model_.get_input_embeddings().weight(), head.name());
      return;
    }
    if (tie && !Model::kTiedUnlessStored) detail::warn_untied(head, embedding);
    lm_head_ = Linear(head, traits_.embedding_size, traits_.vocab_size, false);
  }
  /// Loads the model's own folder, or its part of an InstructBLIP checkpoint. Throws ConfigError or
  /// CheckpointError.
  static LanguageModelWithHead from_pretrained(const std::filesystem::path& path,
                                               const LoadOptions& options = {}) {
    return detail::load_model<LanguageModelWithHead>(path, options, {"", "language_model"},
                                                     Model::probe_with_head());
  }

  const Config& config() const { return model_.config(); }
  const Model& model() const { return model_; }

  const LanguageModelTraits& traits() const override { return traits_; }
  Matrix embed_tokens(std::span<const std::int64_t> ids) const override {
    return model_.embed_tokens(ids);
  }
  Matrix embed_decoder_tokens(std::span<const std::int64_t> ids) const override {
    return model_.embed_decoder_tokens(ids);
  }
  std::unique_ptr<DecoderState> start(MatrixView prompt, const RowTable& rows,
                                      const ForwardCapture& capture = {}) const override {
    return model_.start(prompt, rows, capture);
  }
  DecodeOutput decode(DecoderState& state, MatrixView embeddings, const RowTable& rows,
                      LogitsFor logits = LogitsFor::LastRow,
                      const ForwardCapture& capture = {}) const override {
    DecodeOutput output = model_.decode(state, embeddings, rows, LogitsFor::None, capture);
    output.logits = detail::compute_logits(output.last_hidden_state, rows, logits, lm_head_,
                                           model_.output_scale());
    return output;
  }

 private:
  Model model_;
  LanguageModelTraits traits_;
  Linear lm_head_;
};

}  // namespace instructblip
