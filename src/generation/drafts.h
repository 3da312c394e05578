// Drafts: guesses of a row's next ids, which the model then verifies in one pass over its weights.
// Internal to generation.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "generation/prompt.h"
#include "generation/resolved_config.h"
#include "instructblip/generation/generate_inputs.h"

namespace instructblip::detail {

/// A row that is to be continued.
struct DraftRow {
  Index sequence = 0;  // its place in the decoder's state
  Index prompt = 0;
  std::span<const std::int64_t> ids;  // as in GenerateOutput::sequences, with the newest id
  Index most = 0;                     // ids that may be drafted
};

/// Guesses ids. What it guesses changes the speed of a generation, never its result.
class Drafter {
 public:
  virtual ~Drafter() = default;
  /// At most row.most ids of the vocabulary for each row; none where it has no guess.
  virtual std::vector<std::vector<std::int64_t>> draft(std::span<const DraftRow> rows) = 0;
  /// Sequence i of the decoder's state was sources[i].
  virtual void reorder(std::span<const Index>) {}
};

/// nullptr if no drafts are asked for, or if every step's states are returned. Throws InputError if
/// the assistant does not fit the model.
std::unique_ptr<Drafter> make_drafter(const LanguageModel& model, const ResolvedConfig& resolved,
                                      const Prompt& prompt, const GenerateCallbacks& callbacks);

}  // namespace instructblip::detail
