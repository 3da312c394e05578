#include "instructblip/generation/transition_scores.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "instructblip/core/error.h"
#include "instructblip/core/index.h"
#include "instructblip/generation/sampling.h"

namespace instructblip {
namespace {

void check(bool condition, const std::string& message) {
  if (!condition) throw InputError("compute_transition_scores: " + message);
}

std::string described(const TensorView& tensor) {
  return std::string(name_of(tensor.dtype)) + " " + to_string(tensor.shape);
}

void check_arguments(const TensorView& sequences, const std::vector<Tensor>& scores,
                     const TensorView& beam_indices) {
  check(!scores.empty(),
        "no scores; generate with output_scores = true (or output_logits for the logits)");
  const Shape& shape = scores.front().shape();
  for (const Tensor& step : scores) {
    check(step.dtype() == DType::Float32 && step.rank() == 2 && step.shape() == shape,
          "scores: found " + described(step) + ", expected float32 " + to_string(shape) +
              " in every step");
  }
  check(sequences.dtype == DType::Int64 && sequences.rank() == 2 && sequences.is_contiguous(),
        "sequences: found " + described(sequences) + ", expected int64 [rows, length]");
  if (beam_indices.size() > 0) {
    check(beam_indices.dtype == DType::Int32 && beam_indices.rank() == 2 &&
              beam_indices.is_contiguous() && beam_indices.dim(0) == sequences.dim(0),
          "beam_indices: found " + described(beam_indices) + ", expected int32 [" +
              std::to_string(sequences.dim(0)) + ", steps]");
  } else {
    check(sequences.dim(0) == shape[0], "sequences has " + std::to_string(sequences.dim(0)) +
                                            " rows, but scores " + std::to_string(shape[0]) +
                                            "; beams need beam_indices");
  }
}

// The columns up to the longest row's end.
Index steps_of(const TensorView& beam_indices) {
  const auto* beams = static_cast<const std::int32_t*>(beam_indices.data);
  Index longest = 0;
  for (Index r = 0; r < beam_indices.dim(0); ++r) {
    Index count = 0;
    for (Index i = 0; i < beam_indices.dim(1); ++i) {
      count += beams[r * beam_indices.dim(1) + i] >= 0;
    }
    longest = std::max(longest, count);
  }
  return longest;
}

}  // namespace

Tensor compute_transition_scores(const TensorView& sequences, const std::vector<Tensor>& scores,
                                 const TensorView& beam_indices, bool normalize_logits) {
  check_arguments(sequences, scores, beam_indices);
  const bool has_beams = beam_indices.size() > 0;
  const auto* beams = static_cast<const std::int32_t*>(beam_indices.data);
  const auto* ids = static_cast<const std::int64_t*>(sequences.data);
  const Index rows = sequences.dim(0), length = sequences.dim(1);
  const Index step_rows = scores.front().dim(0), vocab_size = scores.front().dim(1);
  const Index steps = has_beams ? steps_of(beam_indices) : std::ssize(scores);
  check(steps <= std::ssize(scores) && steps <= length,
        "sequences of " + std::to_string(length) + " ids and scores of " +
            std::to_string(scores.size()) + " steps do not fit " + std::to_string(steps) +
            " new ids");
  Tensor found(DType::Float32, {rows, steps});
  for (Index r = 0; r < rows; ++r) {
    for (Index s = 0; s < steps; ++s) {
      const Index beam = has_beams ? beams[r * beam_indices.dim(1) + s] : r;
      if (beam < 0) continue;
      const std::int64_t id = ids[r * length + length - steps + s];
      check(beam < step_rows, "beam_indices name row " + std::to_string(beam) + " of " +
                                  std::to_string(step_rows) + " rows of scores");
      check(id >= 0 && id < vocab_size, "row " + std::to_string(r) + " holds the id " +
                                            std::to_string(id) + ", expected 0 to " +
                                            std::to_string(vocab_size - 1));
      const float* row = at(scores, s).data<float>() + beam * vocab_size;
      float& score = found.at<float>({r, s});
      score = row[id];
      if (!normalize_logits) continue;
      std::vector<float> normalized(row, row + vocab_size);
      log_softmax(normalized);
      score = at(normalized, id);
    }
  }
  return found;
}

std::vector<AnswerProbability> answer_probabilities(const GenerateOutput& output) {
  if (output.logits.empty()) {
    throw InputError(
        "answer_probabilities: the output has no logits; generate with output_logits = true");
  }
  const bool has_beams = output.beam_indices.size() > 0;
  const auto* beams = has_beams ? output.beam_indices.data<std::int32_t>() : nullptr;
  const auto new_tokens = output.new_tokens();
  std::vector<AnswerProbability> answers;
  for (Index r = 0; r < std::ssize(new_tokens); ++r) {
    AnswerProbability& answer = answers.emplace_back();
    double sum = 0;
    for (Index s = 0; s < std::ssize(at(new_tokens, r)); ++s) {
      const Tensor& step = at(output.logits, s);
      const Index row = has_beams ? beams[r * output.beam_indices.dim(1) + s] : r;
      const float* logits = step.data<float>() + row * step.dim(1);
      const double log_prob =
          log_probability({logits, to_size(step.dim(1))}, at(at(new_tokens, r), s));
      answer.token_log_probs.push_back(log_prob);
      sum += log_prob;
    }
    answer.probability = std::exp(sum);
  }
  return answers;
}

}  // namespace instructblip
