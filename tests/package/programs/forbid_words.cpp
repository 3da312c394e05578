// A logits processor that forbids words: forbid_words FOLDER IMAGE QUESTION WORD...
// Prints the answer without and with it.
#include <instructblip/instructblip.h>

#include <iostream>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace instructblip;

class ForbidWords : public LogitsProcessor {
 public:
  ForbidWords(const Tokenizer& tokenizer, const std::vector<std::string>& words) {
    for (std::int64_t id = 0; id < tokenizer.size(); ++id) {
      const std::string text = tokenizer.decode({id});
      for (const std::string& word : words) {
        if (text.find(word) != std::string::npos)
          forbidden_.push_back(static_cast<std::size_t>(id));
      }
    }
  }
  void process_row(const ScoreRow& row) const override {
    for (const std::size_t id : forbidden_) {
      row.scores[id] = -std::numeric_limits<float>::infinity();
    }
  }
  bool empty() const { return forbidden_.empty(); }

 private:
  std::vector<std::size_t> forbidden_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  try {
    const auto [processor, model] = load(argv[1]);
    const std::vector<std::string> words(argv + 4, argv + argc);
    const auto forbid = std::make_shared<const ForbidWords>(processor.tokenizer(), words);
    if (forbid->empty()) return 1;

    const BatchFeature inputs = processor(Image::open(argv[2]), std::string(argv[3]));
    // Three ways to write a call: with braces, with named arguments, with what a processor made.
    const GenerateOutput plain = model.generate(inputs, {}, {});
    const GenerateOutput named = model.generate({.pixel_values = inputs.pixel_values,
                                                 .qformer_input_ids = inputs.qformer_input_ids,
                                                 .input_ids = inputs.input_ids});
    const GenerateOutput changed =
        model.generate(inputs, {.max_new_tokens = 20}, {.logits_processor = {forbid}});
    if (plain.new_tokens() != named.new_tokens()) return 1;

    const DecodeOptions decoding{.skip_special_tokens = true};
    const std::string before = processor.batch_decode(plain.new_tokens(), decoding)[0];
    const std::string after = processor.batch_decode(changed.new_tokens(), decoding)[0];
    std::cout << before << '\n' << after << '\n';
    for (const std::string& word : words) {
      if (after.find(word) != std::string::npos) return 1;
    }
    return before != after ? 0 : 1;
  } catch (const Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
