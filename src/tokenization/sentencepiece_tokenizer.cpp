// The component instructblip::sentencepiece; the only file that includes the sentencepiece library.
#include "instructblip/tokenization/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include "instructblip/core/error.h"
#include "instructblip/tokenization/slow_tokenizer.h"

namespace instructblip {
namespace {

class Processor : public SubwordModel {
 public:
  explicit Processor(const std::string& model_proto) {
    const auto status = processor_.LoadFromSerializedProto(model_proto);
    if (!status.ok()) throw TokenizerError(status.ToString());
  }

  std::vector<std::string> encode(std::string_view text) const override {
    std::vector<std::string> pieces;
    check(processor_.Encode({text.data(), text.size()}, &pieces));
    return pieces;
  }

  std::string decode(const std::vector<std::string>& pieces) const override {
    std::string text;
    check(processor_.Decode(pieces, &text));
    return text;
  }

  std::int64_t piece_to_id(std::string_view piece) const override {
    return processor_.PieceToId({piece.data(), piece.size()});
  }
  std::string id_to_piece(std::int64_t id) const override {
    return processor_.IdToPiece(static_cast<int>(id));
  }
  Index size() const override { return processor_.GetPieceSize(); }

 private:
  static void check(const sentencepiece::util::Status& status) {
    if (!status.ok()) throw TokenizerError("sentencepiece: " + status.ToString());
  }

  sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace

std::unique_ptr<Tokenizer> SentencePieceTokenizer::from_pretrained(
    const std::filesystem::path& folder, const TokenizerOptions& options) {
  return load_slow_tokenizer(folder, options, [](const std::string& model_proto) {
    return std::make_shared<const Processor>(model_proto);
  });
}

}  // namespace instructblip
