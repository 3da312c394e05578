// Questions to the model, and what is printed of its answers.
#pragma once

#include <atomic>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "instructblip/instructblip.h"

namespace examples {

/// The answers of one call: `num_return_sequences` texts per sample.
struct Answers {
  std::vector<std::string> texts;
  instructblip::GenerateOutput output;
  std::size_t prompt_tokens = 0;  // of one sample, with its pictures'
  double seconds = 0;             // of the whole call

  /// Beam search: the score of answer i, see GenerateOutput::sequences_scores. Otherwise its
  /// probability: the product of those of its tokens, if the call recorded logits.
  double score(std::size_t i) const;
};

/// Runs the vision tower. With --timings, prints its time.
instructblip::VisionFeatures encode(const instructblip::InstructBlip& loaded,
                                    const std::vector<instructblip::Image>& images, bool timings);

/// Asks the same about each sample; `views` pictures in a row are one sample.
Answers ask(const instructblip::InstructBlip& loaded, const instructblip::VisionFeatures& features,
            instructblip::Index views, const std::string& prompt,
            const instructblip::GenerationConfig& config,
            instructblip::GenerateCallbacks callbacks = {});

/// Asks about one sample, and prints the answer on stdout: while it is generated or, with beams or
/// several answers, at the end. `cancelled`: see GenerateCallbacks.
Answers answer(const instructblip::InstructBlip& loaded,
               const instructblip::VisionFeatures& features, const std::string& question,
               const instructblip::GenerationConfig& config,
               const std::atomic<bool>* cancelled = nullptr);

/// Prints on stderr how long prompt and answer took.
void print_timings(const Answers& answers);

/// Answer i as one line of JSON: {"file": ..., "prompt": ..., "text": ..., "tokens": ...,
/// "probability" or "score": ...}. Several pictures are "files". With `timings`, also "seconds": of
/// the prompt and of the answer, for all samples of the call.
std::string json_line(const std::vector<std::filesystem::path>& files, const std::string& prompt,
                      const Answers& answers, std::size_t i, bool timings);
/// {"text": ..., "rank": ..., "file": ..., "similarity": ..., "match": ...}, of a picture found.
std::string json_line(const std::filesystem::path& file, const std::string& text, std::size_t rank,
                      double similarity, std::optional<double> match);
/// {"file": ..., "error": ...}
std::string json_line(const std::filesystem::path& file, const std::string& error);
/// The files that the lines of such a file describe. Cuts off a line without its end, so that the
/// file can be continued.
std::set<std::string> described_files(const std::filesystem::path& path);

}  // namespace examples
