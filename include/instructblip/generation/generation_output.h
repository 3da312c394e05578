// What `generate` returns. Field names are those of the reference's GenerateDecoderOnlyOutput,
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
  /// Encoder (if there is one) and prompt, up to the first logits.
  double prompt_seconds = 0;
  /// Each further step of all rows: choosing the ids before it and one forward pass.
  std::vector<double> step_seconds;

  double mean_step_seconds() const {
    if (step_seconds.empty()) return 0;
    return std::accumulate(step_seconds.begin(), step_seconds.end(), 0.0) /
           static_cast<double>(step_seconds.size());
  }
  /// Standard deviation of the steps as a whole population; 0 without any.
  double stddev_step_seconds() const {
    double sum = 0;
    for (const double seconds : step_seconds) sum += std::pow(seconds - mean_step_seconds(), 2);
    return step_seconds.empty() ? 0 : std::sqrt(sum / static_cast<double>(step_seconds.size()));
  }
};

/// Rows are batch * num_return_sequences, those of one prompt together, best first for beams. Step
/// tensors have batch * num_beams rows (beams) or as many as `sequences` has.
struct GenerateOutput {
  /// int64 [rows, length]. Decoder-only: the prompt's ids (image placeholders, padding, text), then
  /// the new ones; encoder-decoder: the start id first. Rows that ended early are filled up: greedy
  /// and sampling with pad_token_id; beams likewise, but a pad id of 0 counts as absent and the
  /// first eos id fills, as in the reference.
  Tensor sequences;
  /// Length of the part of each row of `sequences` that was given.
  Index prompt_length = 0;
  /// How many ids each row generated, its eos id included, filler excluded.
  std::vector<Index> new_token_counts;
  /// Why each row ended.
  std::vector<FinishReason> finish_reasons;

  /// Beams: sum of scores / length^length_penalty, float32 [rows].
  Tensor sequences_scores;
  /// Beams: which beam (row * num_beams + beam) each id came from, int32 [rows, most new ids], -1
  /// after a row's end.
  Tensor beam_indices;
  /// output_scores: after all processors; beams: log-probabilities of each beam alone. One float32
  /// [step rows, vocabulary] per step.
  std::vector<Tensor> scores;
  /// output_logits: as the model gives them.
  std::vector<Tensor> logits;

  /// output_hidden_states, output_attentions: [step][layer] -> [step rows, positions, hidden_size]
  /// and [step rows, heads, positions, keys]. The first step has the whole prompt's positions, with
  /// padding (zeros there), the following one each. Decoder-only models:
  std::vector<std::vector<Tensor>> hidden_states, attentions;
  /// Encoder-decoders; the encoder's are [layer] -> [batch, ...].
  std::vector<Tensor> encoder_hidden_states, encoder_attentions;
  std::vector<std::vector<Tensor>> decoder_hidden_states, decoder_attentions, cross_attentions;

  /// Seed that the draws were made with (sampling).
  std::uint64_t seed = 0;
  GenerationTimings timings;

  /// What was generated, without prompt and filler.
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
