#include "instructblip/generation/language_model.h"

#include <limits>
#include <string>

#include "instructblip/core/error.h"
#include "instructblip/generation/sampling.h"

namespace instructblip {
namespace {

// The kept positions of ids or embeddings, whichever are given. `prefix` ("decoder_") stands before
// the arguments' names in messages.
template <class Embed>
EmbeddedBatch embed_batch(const TensorView& input_ids, const TensorView& inputs_embeds,
                          const TensorView& attention_mask, const Embed& embed,
                          const std::string& prefix = "") {
  const bool embedded = inputs_embeds.has_value();
  if (input_ids.has_value() == embedded) {
    throw InputError("exactly one of " + prefix + "input_ids and " + prefix +
                     "inputs_embeds is needed, found " + (embedded ? "both" : "neither"));
  }
  const TensorView& given = embedded ? inputs_embeds : input_ids;
  if (given.rank() != (embedded ? 3 : 2)) {
    throw InputError(prefix + (embedded ? "inputs_embeds" : "input_ids") + " has the shape " +
                     to_string(given.shape) + ", expected " +
                     (embedded ? "[batch, length, width]" : "[batch, length]"));
  }
  EmbeddedBatch result{
      PaddedBatch(given.dim(0), given.dim(1), attention_mask, prefix + "attention_mask"), {}};
  result.embeddings =
      embedded ? result.batch.gather(inputs_embeds) : embed(result.batch.gather_ids(input_ids));
  return result;
}

// Decoder ids from labels [batch, length]: the start id, then the labels but the last of each row;
// -100 becomes padding (_shift_right).
Tensor shift_tokens_right(const TensorView& labels, const LanguageModelTraits& traits) {
  if (labels.rank() != 2) {
    throw InputError("labels have the shape " + to_string(labels.shape) +
                     ", expected [batch, length]");
  }
  if (!traits.decoder_start_token_id || !traits.pad_token_id) {
    throw InputError(
        "decoder ids are made from labels only if the configuration has decoder_start_token_id and "
        "pad_token_id; add them, or pass decoder_input_ids");
  }
  const Tensor all = detail::as_ids(labels, labels.shape, "labels");
  Tensor shifted(DType::Int64, labels.shape);
  const Index length = labels.dim(1);
  for (Index i = 0; i < all.size(); ++i) {
    const std::int64_t before =
        i % length == 0 ? *traits.decoder_start_token_id : all.data<std::int64_t>()[i - 1];
    shifted.data<std::int64_t>()[i] = before == kIgnoredLabel ? *traits.pad_token_id : before;
  }
  return shifted;
}

EmbeddedBatch embed_decoder_batch(const LanguageModel& model, const LanguageModelInputs& inputs) {
  Tensor shifted;
  TensorView ids = inputs.decoder_input_ids;
  if (!ids.has_value() && !inputs.decoder_inputs_embeds.has_value()) {
    if (!inputs.labels.has_value()) {
      throw InputError(
          "an encoder-decoder needs decoder_input_ids [batch, length], decoder_inputs_embeds or "
          "labels");
    }
    shifted = shift_tokens_right(inputs.labels, model.traits());
    ids = shifted;
  }
  return embed_batch(
      ids, inputs.decoder_inputs_embeds, inputs.decoder_attention_mask,
      [&](std::span<const std::int64_t> fed) { return model.embed_decoder_tokens(fed); },
      "decoder_");
}

// Mean of -log softmax(logits)[label] over the rows whose label is counted; NaN if none is.
float cross_entropy(const Tensor& logits, const std::vector<std::int64_t>& labels) {
  const Index vocab_size = logits.dim(1);
  double sum = 0;
  Index counted = 0;
  for (std::size_t r = 0; r < labels.size(); ++r) {
    if (labels[r] == kIgnoredLabel) continue;
    if (labels[r] < 0 || labels[r] >= vocab_size) {
      throw InputError("labels hold " + std::to_string(labels[r]) +
                       ", expected -100 or an id from 0 to " + std::to_string(vocab_size - 1));
    }
    const float* row = logits.data<float>() + static_cast<Index>(r) * vocab_size;
    sum -= log_probability({row, static_cast<std::size_t>(vocab_size)}, labels[r]);
    ++counted;
  }
  return counted == 0 ? std::numeric_limits<float>::quiet_NaN()
                      : static_cast<float>(sum / static_cast<double>(counted));
}

// The labels that the rows of a decoder-only model predict: those of the next column
// (ForCausalLMLoss). A masked position is not computed and predicts nothing.
std::vector<std::int64_t> next_labels(const TensorView& labels, const PaddedBatch& batch) {
  const Tensor all = detail::as_ids(labels, {batch.batch, batch.length}, "labels");
  std::vector<std::int64_t> next;
  for (Index b = 0; b < batch.batch; ++b) {
    for (Index r = batch.rows.begin(b); r < batch.rows.begin(b + 1); ++r) {
      const Index column = batch.column(r) + 1;
      next.push_back(column < batch.length ? all.data<std::int64_t>()[b * batch.length + column]
                                           : kIgnoredLabel);
    }
  }
  return next;
}

}  // namespace

LanguageModelOutputs LanguageModel::forward(const LanguageModelInputs& inputs) const {
  EmbeddedBatch prompt =
      embed_batch(inputs.input_ids, inputs.inputs_embeds, inputs.attention_mask,
                  [this](std::span<const std::int64_t> ids) { return embed_tokens(ids); });
  if (inputs.position_ids.has_value()) {
    if (traits().is_encoder_decoder) {
      throw InputError("position_ids were given to an encoder-decoder, which has no use for them");
    }
    prompt.batch.use_positions(inputs.position_ids);
  } else if (traits().forward_positions_from_mask) {
    prompt.batch.use_compact_positions();
  }
  return forward(prompt, inputs, traits().has_head ? LogitsFor::AllRows : LogitsFor::None);
}

LanguageModelOutputs LanguageModel::forward(const EmbeddedBatch& prompt,
                                            const LanguageModelInputs& inputs,
                                            LogitsFor logits) const {
  const bool encodes = traits().is_encoder_decoder;
  EmbeddedBatch answer;
  if (encodes) {
    answer = embed_decoder_batch(*this, inputs);
    if (prompt.batch.batch != answer.batch.batch) {
      throw InputError(std::to_string(prompt.batch.batch) + " rows for the encoder, but " +
                       std::to_string(answer.batch.batch) + " for the decoder");
    }
  }
  // A decoder-only model reads the prompt itself.
  const EmbeddedBatch& decoded = encodes ? answer : prompt;
  const PaddedBatch& batch = decoded.batch;
  const ForwardCapture capture{inputs.output_hidden_states, inputs.output_attentions};
  const auto state = start(prompt.embeddings, prompt.batch.rows, capture);
  const DecodeOutput output = decode(*state, decoded.embeddings, batch.rows, logits, capture);

  LanguageModelOutputs outputs;
  outputs.last_hidden_state = batch.scatter(output.last_hidden_state);
  (encodes ? outputs.decoder_hidden_states : outputs.hidden_states) =
      batch.scatter(output.states.hidden_states);
  (encodes ? outputs.decoder_attentions : outputs.attentions) =
      batch.scatter_attentions(output.states.attentions, batch);
  outputs.cross_attentions = batch.scatter_attentions(output.states.cross_attentions, prompt.batch);
  if (const Matrix* last = state->encoder_last_hidden_state()) {
    outputs.encoder_last_hidden_state = prompt.batch.scatter(*last);
  }
  if (const StateRecorder* encoder = state->encoder_states()) {
    outputs.encoder_hidden_states = prompt.batch.scatter(encoder->hidden_states);
    outputs.encoder_attentions = prompt.batch.scatter_attentions(encoder->attentions, prompt.batch);
  }
  if (logits == LogitsFor::None) return outputs;
  if (inputs.labels.has_value()) {
    outputs.loss = cross_entropy(output.logits, encodes ? batch.gather_ids(inputs.labels)
                                                        : next_labels(inputs.labels, batch));
  }
  outputs.logits = batch.scatter(Matrix::from(output.logits));
  return outputs;
}

}  // namespace instructblip
