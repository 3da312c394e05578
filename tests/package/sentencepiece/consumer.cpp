// Tokenizes with the component. An exception thrown inside it is caught here.
#include <cstdio>
#include <string>

#include "instructblip/instructblip.h"
#include "instructblip/tokenization/sentencepiece_tokenizer.h"

int main(int argc, char** argv) {
  using namespace instructblip;
  if (argc != 2) return 1;
  const TokenizerOptions options{.loader = SentencePieceTokenizer::from_pretrained};
  const auto tokenizer = AutoTokenizer::from_pretrained(argv[1], options);
  const auto ids = tokenizer->encode("What is unusual about this image?");
  if (tokenizer->decode(ids, {.skip_special_tokens = true}) !=
      "What is unusual about this image?") {
    return 2;
  }
  try {
    AutoTokenizer::from_pretrained("no such folder", options);
    return 3;
  } catch (const TokenizerError& error) {
    std::puts(error.what());
  }
  return 0;
}
