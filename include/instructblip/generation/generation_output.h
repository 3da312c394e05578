// The result of `generate`. Field names are those of the reference's GenerateDecoderOnlyOutput,
// GenerateEncoderDecoderOutput and their beam variants.
#pragma once

#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "instructblip/core/tensor.h"
#include "instructblip/generation/stopping_criteria.h"

namespace instructblip {

/// Wall-clock seconds.
struct GenerationTimings {
  /// The encoder, if there is one, and the prompt, up to the first logits.
  double prompt_seconds = 0;
  /// One value per further step: choosing the ids of all rows and the forward pass that reads them.
  /// A step whose ids had all been drafted needs no pass.
  std::vector<double> step_seconds;
  /// The bytes of the weights that all these steps read.
  std::int64_t step_weight_bytes = 0;
  /// Ids that were guessed (GenerationConfig::prompt_lookup_num_tokens), and those that were right.
  Index drafted_ids = 0, accepted_ids = 0;

  double mean_step_seconds() const {
    if (step_seconds.empty()) return 0;
    return std::accumulate(step_seconds.begin(), step_seconds.end(), 0.0) /
           static_cast<double>(step_seconds.size());
  }
  /// Population standard deviation of the steps; 0 if there are none.
  double stddev_step_seconds() const {
    double sum = 0;
    for (const double seconds : step_seconds) sum += std::pow(seconds - mean_step_seconds(), 2);
    return step_seconds.empty() ? 0 : std::sqrt(sum / static_cast<double>(step_seconds.size()));
  }
};

/// There are batch * num_return_sequences rows. The rows of one prompt are adjacent; with beams the
/// best comes first. The tensors of a step have as many rows as `sequences`, or batch * num_beams
/// with beams.
struct GenerateOutput {
  /// int64 [rows, length]. Decoder-only: the prompt's ids (image placeholders, padding, text), then
  /// the new ones; encoder-decoder: the start id, then the new ones. Rows that ended early are
  /// filled with pad_token_id. As in the reference, beam search fills with the first eos id if
  /// pad_token_id is 0.
  Tensor sequences;
  /// How many ids at the beginning of each row of `sequences` belong to the prompt.
  Index prompt_length = 0;
  /// New ids per row, including its eos id but not the filler.
  std::vector<Index> new_token_counts;
  /// Why each row ended.
  std::vector<FinishReason> finish_reasons;

  /// Beams: (sum of scores) / length^length_penalty, float32 [rows].
  Tensor sequences_scores;
  /// Beams: the beam (row * num_beams + beam) that each id continued, int32 [rows, new ids of the
  /// longest row], -1 after a row's end.
  Tensor beam_indices;
  /// With output_scores: the scores after all processors, one float32 [step rows, vocabulary] per
  /// step. Beams: log-probabilities of each beam alone, without the score of the beam so far.
  std::vector<Tensor> scores;
  /// With output_logits: the model's logits, in the same shapes.
  std::vector<Tensor> logits;

  /// With output_hidden_states and output_attentions: [step][layer] -> [step rows, positions,
  /// hidden_size] and [step rows, heads, positions, keys]. The first step has all positions of the
  /// padded prompt, with zeros for padding; each later step has one. Decoder-only models:
  std::vector<std::vector<Tensor>> hidden_states, attentions;
  /// Encoder-decoders; the encoder's are [layer] -> [batch, ...].
  std::vector<Tensor> encoder_hidden_states, encoder_attentions;
  std::vector<std::vector<Tensor>> decoder_hidden_states, decoder_attentions, cross_attentions;

  /// Sampling: the seed of the random draws.
  std::uint64_t seed = 0;
  GenerationTimings timings;

  /// The new ids of each row, without prompt and filler.
  std::vector<std::vector<std::int64_t>> new_tokens() const {
    std::vector<std::vector<std::int64_t>> rows;
    for (std::size_t r = 0; r < new_token_counts.size(); ++r) {
      const std::int64_t* begin =
          sequences.data<std::int64_t>() + static_cast<Index>(r) * sequences.dim(1) + prompt_length;
      rows.emplace_back(begin, begin + new_token_counts[r]);
    }
    return rows;
  }
};

}  // namespace instructblip
