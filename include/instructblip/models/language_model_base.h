// What the language models share: loading from a folder, serving generation/language_model.h, and
// the output head with its tied weights.
//
// A model is a class without a head, derived from LanguageModel (LlamaModel), and
// LanguageModelWithHead of it (LlamaForCausalLM). A decoder-only model derives from
// DecoderOnlyModel and brings its layers, its embedding and the size of its cache.
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

/// What a configuration says about generation. The model has no head.
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

/// Throws InputError, naming `model`, unless `embeddings` has one row of `width` per row of the
/// table.
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

/// The state as the model's own kind. Throws InputError if another kind of model began it, or if
/// the rows are of another number of sequences.
template <class State>
State& own_state(std::string_view model, DecoderState& state, const RowTable& rows) {
  auto* own = dynamic_cast<State*>(&state);
  if (own == nullptr) {
    throw InputError(std::string(model) + ": the state was begun by another kind of model");
  }
  if (state.sequences() != rows.sequences()) {
    throw InputError(std::string(model) + ": rows of " + std::to_string(rows.sequences()) +
                     " sequences, but the state holds " + std::to_string(state.sequences()));
  }
  return *own;
}

/// Throws InputError if a model without a head is asked for logits.
inline void check_headless(LogitsFor logits) {
  if (logits != LogitsFor::None) {
    throw InputError("the language model was loaded without its head and has no logits");
  }
}

/// Whether `copy` takes its `weight` from `source`: the checkpoint holds no such tensor for it, or
/// the same elements. One that differs is the model's own, as in the reference.
inline bool is_tied(const Weights& copy, const Weights& source, const Shape& shape) {
  if (copy.name() == source.name()) return true;
  const std::optional<SharedTensor> found = copy["weight"].find(shape);
  if (!found || found->data == nullptr) return !copy["weight"].exists();
  const std::optional<SharedTensor> original = source["weight"].find(shape);
  return !original || original->data == nullptr || same_elements(*found, *original);
}

inline void warn_untied(const Weights& copy, const Weights& source) {
  log_warning(copy.where() + ": " + copy.name() + ".weight differs from " + source.name() +
              ".weight, to which the configuration ties it; it is used as it is. If that is "
              "intended, set \"tie_word_embeddings\": false in config.json");
}

/// The head over the rows that are asked for. A sequence without rows gets zeros.
inline Tensor compute_logits(MatrixView hidden_states, const RowTable& rows, LogitsFor wanted,
                             const Linear& lm_head, float scale) {
  if (wanted == LogitsFor::None) return {};
  // scale * (x W^T) instead of (scale * x) W^T: the same but for rounding.
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

/// The state of a decoder-only model: its cache.
class DecoderOnlyState : public DecoderState {
 public:
  explicit DecoderOnlyState(KvCache empty) : cache(std::move(empty)) {}

  Index sequences() const override { return cache.sequences(); }
  Index length(Index sequence) const override { return cache.length(sequence); }
  void reorder(std::span<const Index> sources) override { cache.reorder(sources); }

  KvCache cache;
};

/// A decoder-only model without its head. `Model` derives from it and has
///   kName, for messages; kProbe, a tensor that every checkpoint of it holds;
///   get_input_embeddings(); new_cache(sequences), an empty cache of its sizes;
///   operator()(inputs_embeds [rows, embedding_size], rows, cache, states) -> the last hidden state
///     [rows, embedding_size] of rows that follow what the cache holds of their sequences.
template <class Model, class ModelConfig>
class DecoderOnlyModel : public LanguageModel {
 public:
  using Config = ModelConfig;

  /// From its own folder, from that of the model with its head or from a whole InstructBLIP
  /// checkpoint's. Throws ConfigError or CheckpointError.
  static Model from_pretrained(const std::filesystem::path& path, const LoadOptions& options = {}) {
    return detail::load_model<Model, Config>(
        path, options, {"", "model", "language_model.model", "language_model"}, Model::kProbe);
  }
  /// Where a checkpoint with or without a head keeps the model.
  static Weights scope(const Weights& weights) {
    return weights.at_first_prefix({"model", ""}, Model::kProbe);
  }
  static Weights scope_with_head(const Weights& weights) {
    return weights.at_first_prefix({"", "language_model"}, "model." + std::string(Model::kProbe));
  }

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
/// `Model` is a LanguageModel without a head and has, beside what it needs itself,
///   scope(weights) and scope_with_head(weights): where a checkpoint keeps it;
///   embedding_scope(weights): where below that its input embeddings are;
///   kTiedUnlessStored: whether the head is tied whatever tie_word_embeddings says, as long as the
///     file holds none;
///   output_scale(), by which logits are multiplied.
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
    const Weights head = weights["lm_head"];
    const Weights embedding = Model::embedding_scope(Model::scope(weights));
    const bool tie = Model::kTiedUnlessStored || config.tie_word_embeddings;
    if (tie && detail::is_tied(head, embedding, {traits_.vocab_size, traits_.embedding_size})) {
      lm_head_ = Linear(model_.get_input_embeddings().weight(), head.name());
      return;
    }
    if (tie && !Model::kTiedUnlessStored) detail::warn_untied(head, embedding);
    lm_head_ = Linear(head, traits_.embedding_size, traits_.vocab_size, false);
  }
  /// From its own folder or a whole InstructBLIP checkpoint's. Throws ConfigError or
  /// CheckpointError.
  static LanguageModelWithHead from_pretrained(const std::filesystem::path& path,
                                               const LoadOptions& options = {}) {
    const Config config = Config::from_pretrained(path);
    const Weights weights = Model::scope_with_head(detail::open_weights(path, options));
    LanguageModelWithHead model(weights, config);
    weights.finish();
    return model;
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
