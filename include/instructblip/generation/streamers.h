// Who sees ids while they are generated. Mirrors transformers/generation/streamers.py.
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

/// Derive from it to receive ids; pass it in GenerateCallbacks::streamer. It is called on the
/// thread that generates, and belongs to one generation at a time.
class BaseStreamer {
 public:
  virtual ~BaseStreamer() = default;
  /// First the prompt's ids, int64 [rows, length]; then after each step the new ones, [rows], with
  /// the padding id for rows that have ended. Returns whether to go on; false ends the generation
  /// after this step.
  virtual bool put(const Tensor& ids) = 0;
  /// The generation is over.
  virtual void end() = 0;
};

/// Text as soon as it will not change any more (Tokenizer::decode_settled), for one row. Of that, a
/// piece ends where the reference's TextStreamer ends one: after a line end, a Chinese character,
/// or letters, digits and spaces; other characters wait for the next space. The pieces put together
/// are the decoded text, whatever the ids and options, and none splits a character.
class INSTRUCTBLIP_EXPORT TextStreamer : public BaseStreamer {
 public:
  /// Receives a piece, never an empty one; returns whether to go on.
  using Callback = std::function<bool(std::string_view text)>;

  /// The prompt's text comes first unless skip_prompt. The tokenizer must outlive the streamer.
  TextStreamer(const Tokenizer& tokenizer, Callback callback, bool skip_prompt = false,
               DecodeOptions decode_options = {});

  /// Throws InputError if there is more than one row.
  bool put(const Tensor& ids) override;
  void end() override;

 private:
  bool emit(std::string_view piece);
  /// Keeps the cost of a token the same however long the text is.
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
