// The files of tokenizers that have no tokenizer.json, and those beside a .model file.
#include "fuzz/fuzzing.h"
#include "instructblip/tokenization/slow_tokenizer.h"

using namespace instructblip;

namespace {

// Two pieces for every text, the first of which is mostly unknown.
class SmallModel : public SubwordModel {
 public:
  std::vector<std::string> encode(std::string_view text) const override {
    return {std::string(text), "b"};
  }
  std::string decode(const std::vector<std::string>& pieces) const override {
    std::string text;
    for (const std::string& piece : pieces) text += piece;
    return text;
  }
  std::int64_t piece_to_id(std::string_view piece) const override {
    const auto found = std::find(std::begin(kPieces), std::end(kPieces), piece);
    return found == std::end(kPieces) ? 0 : found - std::begin(kPieces);
  }
  std::string id_to_piece(std::int64_t id) const override { return std::string(kPieces[id]); }
  Index size() const override { return std::ssize(kPieces); }

 private:
  static constexpr std::string_view kPieces[] = {"<unk>", "<s>", "</s>", "a", "b"};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzzing::write_files(fuzzing::as_text(data, size),
                       {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                        "vocab.txt", "merges.txt", "vocab.json"});
  std::ofstream(fuzzing::folder() / "tokenizer.model") << "any";
  fuzzing::use_tokenizer();
  fuzzing::run([] {
    const auto make = [](const std::string&) { return std::make_shared<const SmallModel>(); };
    fuzzing::use(*load_slow_tokenizer(fuzzing::folder(), {}, make));
  });
  return 0;
}
