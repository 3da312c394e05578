// Streamers receive ids while they are generated. Mirrors transformers/generation/streamers.py.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/tokenization/tokenizer.h"

namespace instructblip {

/// Derive from it to receive ids; pass it in GenerateCallbacks::streamer. It runs on the thread
/// that calls `generate` and serves one generation at a time.
class BaseStreamer {
 public:
  virtual ~BaseStreamer() = default;
  /// Receives the prompt's ids, int64 [rows, length], then after each step the new ids, [rows].
  /// Rows that have ended get the padding id. Returns whether to continue; false ends the
  /// generation after the current step.
  virtual bool put(const Tensor& ids) = 0;
  /// Called at the end of the generation.
  virtual void end() = 0;
};

/// Emits the text of one row as soon as later ids cannot change it (Tokenizer::decode_settled). A
/// piece ends where the reference's TextStreamer ends one: after a line break, a Chinese character,
/// or letters, digits and spaces. Other characters are held back until the next space. The
/// concatenated pieces are the decoded text for all ids and options, and no piece splits a
/// character.
class INSTRUCTBLIP_EXPORT TextStreamer : public BaseStreamer {
 public:
  /// Receives a piece, which is never empty. Returns whether to continue.
  using Callback = std::function<bool(std::string_view text)>;

  /// Emits the prompt's text first, unless `skip_prompt`. The tokenizer must outlive the streamer.
  TextStreamer(const Tokenizer& tokenizer, Callback callback, bool skip_prompt = false,
               DecodeOptions decode_options = {});

  /// Throws InputError if there is more than one row.
  bool put(const Tensor& ids) override;
  void end() override;

 private:
  bool emit(std::string_view piece);
  /// Drops ids whose text has been emitted, so that a token costs the same in a text of any length.
  void forget_printed();

  const Tokenizer& tokenizer_;
  Callback callback_;
  bool skip_prompt_;
  DecodeOptions decode_options_;
  std::vector<std::int64_t> token_cache_;
  std::size_t printed_ = 0;  // bytes of the cache's text
  bool next_tokens_are_prompt_ = true;
};

}  // namespace instructblip
