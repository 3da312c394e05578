#include "generation/step_states.h"

#include <utility>

namespace instructblip::detail {

void StepStates::add_prompt(const Decoding& decoding, GenerateOutput& output) {
  keys_ = prompt_.batch;
  if (prompt_.is_encoder_decoder) {
    encoder_keys_ = std::exchange(keys_, PaddedBatch(prompt_.size(), prompt_.length()));
    if (const StateRecorder* encoder = decoding.state().encoder_states()) {
      output.encoder_hidden_states = encoder_keys_.scatter(encoder->hidden_states);
      output.encoder_attentions =
          encoder_keys_.scatter_attentions(encoder->attentions, encoder_keys_);
    }
  }
  add(decoding.states(), keys_, output);

  const Index copies = resolved_.expand_size();
  if (copies == 1) return;
  for (auto* steps : {&output.hidden_states, &output.attentions, &output.decoder_hidden_states,
                      &output.decoder_attentions, &output.cross_attentions}) {
    for (std::vector<Tensor>& layers : *steps) {
      for (Tensor& layer : layers) layer = layer.repeat_interleave(copies);
    }
  }
  keys_ = keys_.repeated(copies);
  encoder_keys_ = encoder_keys_.repeated(copies);
}

void StepStates::add_step(const StateRecorder& states, GenerateOutput& output) {
  // Beams of one prompt have the same columns, so that their order does not matter here.
  keys_.append_column();
  add(states, PaddedBatch(keys_.batch, 1), output);
}

void StepStates::add(const StateRecorder& states, const PaddedBatch& queries,
                     GenerateOutput& output) {
  const bool encodes = prompt_.is_encoder_decoder;
  if (resolved_.output_hidden_states) {
    (encodes ? output.decoder_hidden_states : output.hidden_states)
        .push_back(queries.scatter(states.hidden_states));
  }
  if (!resolved_.output_attentions) return;
  (encodes ? output.decoder_attentions : output.attentions)
      .push_back(queries.scatter_attentions(states.attentions, keys_));
  if (encodes) {
    output.cross_attentions.push_back(
        queries.scatter_attentions(states.cross_attentions, encoder_keys_));
  }
}

}  // namespace instructblip::detail
