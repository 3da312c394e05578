#include "generation/step_states.h"

#include <utility>

namespace instructblip::detail {

void StepStates::add_prompt(const Prompt& prompt, const StateRecorder& states,
                            const StateRecorder* encoder) {
  if (!resolved_.records_states()) return;
  keys_ = prompt.batch;
  if (prompt.is_encoder_decoder) {
    encoder_keys_ = std::exchange(keys_, PaddedBatch(prompt.size(), prompt.length()));
  }
  if (encoder != nullptr) {
    output_.encoder_hidden_states = encoder_keys_.scatter(encoder->hidden_states);
    output_.encoder_attentions =
        encoder_keys_.scatter_attentions(encoder->attentions, encoder_keys_);
  }
  add(keys_, states);

  const Index copies = resolved_.expand_size();
  if (copies == 1) return;
  for (auto* steps : {&output_.hidden_states, &output_.attentions, &output_.decoder_hidden_states,
                      &output_.decoder_attentions, &output_.cross_attentions}) {
    for (std::vector<Tensor>& layers : *steps) {
      for (Tensor& layer : layers) layer = layer.repeat_interleave(copies);
    }
  }
  keys_ = keys_.repeated(copies);
  encoder_keys_ = encoder_keys_.repeated(copies);
}

void StepStates::add_step(const StateRecorder& states) {
  if (!resolved_.records_states()) return;
  // Beams of one prompt have the same columns, so their order makes no difference.
  keys_.append_column();
  add(PaddedBatch(keys_.batch, 1), states);
}

void StepStates::add(const PaddedBatch& queries, const StateRecorder& states) {
  const bool has_encoder = encoder_keys_.batch > 0;
  if (resolved_.output_hidden_states) {
    (has_encoder ? output_.decoder_hidden_states : output_.hidden_states)
        .push_back(queries.scatter(states.hidden_states));
  }
  if (!resolved_.output_attentions) return;
  (has_encoder ? output_.decoder_attentions : output_.attentions)
      .push_back(queries.scatter_attentions(states.attentions, keys_));
  if (has_encoder) {
    output_.cross_attentions.push_back(
        queries.scatter_attentions(states.cross_attentions, encoder_keys_));
  }
}

}  // namespace instructblip::detail
