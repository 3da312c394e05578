#include "instructblip/tasks/answers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "instructblip/core/error.h"
#include "instructblip/core/threads.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/fixtures.h"
#include "support/log_capture.h"
#include "support/temporary_folder.h"

namespace instructblip {
namespace {

using testing::expect_close;
using testing::expect_equal;
using testing::expect_error;
using testing::Fixture;

class Answers : public ::testing::TestWithParam<const char*> {
 protected:
  std::string kind = GetParam();
  Fixture answers{"answers/" + kind};
  InstructBlipForConditionalGeneration model =
      InstructBlipForConditionalGeneration::from_pretrained(
          testing::fixtures_folder() / "instructblip" / kind, {.dtype = DType::Float32});
  Fixture batch{"instructblip/" + kind + "/expected"};
  BatchFeature features{.qformer_input_ids = batch["forward.left.qformer_input_ids"],
                        .qformer_attention_mask = batch["forward.left.qformer_attention_mask"],
                        .input_ids = batch["forward.left.input_ids"],
                        .attention_mask = batch["forward.left.attention_mask"],
                        .pixel_values = batch["forward.left.pixel_values"]};
  InstructBlipInputs inputs = InstructBlipInputs::from(features);
  std::vector<std::vector<std::int64_t>> candidates = lists("candidates");

  std::vector<std::vector<std::int64_t>> lists(const std::string& name) const {
    const Tensor values = answers[name], offsets = answers[name + ".offsets"];
    const auto begins = offsets.span<std::int64_t>();
    std::vector<std::vector<std::int64_t>> found;
    for (std::size_t i = 0; i + 1 < begins.size(); ++i) {
      found.emplace_back(values.data<std::int64_t>() + begins[i],
                         values.data<std::int64_t>() + begins[i + 1]);
    }
    return found;
  }
};

TEST_P(Answers, LogLikelihoodsEqualTheReferenceForEachSample) {
  expect_close(rank_candidates(model, inputs, candidates, {.score_eos = false}).log_likelihoods,
               answers["log_likelihoods"]);
  expect_close(rank_candidates(model, inputs, candidates, {.score_eos = true}).log_likelihoods,
               answers["log_likelihoods.eos"]);
}

TEST_P(Answers, TheEndIsScoredByDefaultAsInLavis) {
  expect_close(rank_candidates(model, inputs, candidates).log_likelihoods,
               answers[kind == "t5" ? "log_likelihoods.eos" : "log_likelihoods"]);
}

TEST_P(Answers, TheMeanIsPerToken) {
  const Tensor sums =
      rank_candidates(model, inputs, candidates, {.score_eos = true}).log_likelihoods;
  const Tensor means =
      rank_candidates(model, inputs, candidates, {.mean = true, .score_eos = true}).log_likelihoods;
  for (Index i = 0; i < sums.size(); ++i) {
    const auto length =
        static_cast<float>(candidates[static_cast<std::size_t>(i) % candidates.size()].size() + 1);
    EXPECT_FLOAT_EQ(means.data<float>()[i], sums.data<float>()[i] / length);
  }
}

TEST_P(Answers, RanksGoFromTheBestToTheWorst) {
  const CandidateRanks result = rank_candidates(model, inputs, candidates);
  for (Index b = 0; b < result.ranks.dim(0); ++b) {
    std::vector<std::int64_t> seen;
    for (Index i = 0; i < result.ranks.dim(1); ++i) {
      seen.push_back(result.ranks.at<std::int64_t>({b, i}));
      if (i == 0) continue;
      EXPECT_GE(result.log_likelihoods.at<float>({b, seen[static_cast<std::size_t>(i) - 1]}),
                result.log_likelihoods.at<float>({b, seen.back()}));
    }
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(seen, (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
  }
  // Equal candidates keep their order.
  const CandidateRanks equal = rank_candidates(model, inputs, {{40, 41}, {40, 41}, {40, 41}});
  EXPECT_EQ(equal.ranks.at<std::int64_t>({1, 0}), 0);
  EXPECT_EQ(equal.ranks.at<std::int64_t>({1, 2}), 2);
}

TEST_P(Answers, AnEmptyCandidateIsAsLikelyAsTheEnd) {
  const auto eos = model.language_model().traits().eos_token_id;
  const Tensor empty =
      rank_candidates(model, inputs, {{5}, {}}, {.score_eos = true}).log_likelihoods;
  const Tensor end = rank_candidates(model, inputs, {eos}, {.score_eos = false}).log_likelihoods;
  for (Index b = 0; b < 3; ++b) EXPECT_EQ(empty.at<float>({b, 1}), end.at<float>({b, 0}));
}

TEST_P(Answers, ScoresDoNotDependOnOtherCandidatesOrPrompts) {
  const Tensor expected = rank_candidates(model, inputs, candidates).log_likelihoods;
  const int threads_before = num_threads();
  for (const Index batch_size : {1, 2, 4, 7, 100}) {
    set_num_threads(1 + static_cast<int>(batch_size % 3));
    expect_equal(
        rank_candidates(model, inputs, candidates, {.batch_size = batch_size}).log_likelihoods,
        expected);
  }
  set_num_threads(threads_before);
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    const Tensor alone = rank_candidates(model, inputs, {candidates[c]}).log_likelihoods;
    for (Index b = 0; b < 3; ++b) {
      EXPECT_EQ(alone.at<float>({b, 0}), expected.at<float>({b, static_cast<Index>(c)}));
    }
  }
}

TEST_P(Answers, ShortAnswersEqualLavisBeamSearchOverEmbeddings) {
  const testing::LogCapture log;
  const GenerateOutput output = predict_answers(model, inputs);
  expect_equal(output.sequences, answers["short_answers"]);
  EXPECT_TRUE(log.messages().empty()) << log.messages().front();
  EXPECT_THROW(predict_answers(model, inputs, {.repetition_penalty = 0}), InputError);
}

TEST_P(Answers, ShortAnswersObeyTheirOptions) {
  const GenerateOutput shorter = predict_answers(model, inputs, {.num_beams = 1, .max_len = 3});
  // max_len counts Vicuna's BOS.
  const std::size_t longest = kind == "t5" ? 3 : 2;
  for (const auto& row : shorter.new_tokens()) EXPECT_LE(row.size(), longest);
  EXPECT_THROW(predict_answers(model, inputs, {.num_beams = 1, .max_len = 0}), InputError);
  // The first token ends the answer.
  const std::int64_t first = shorter.new_tokens()[0][0];
  EXPECT_EQ(predict_answers(model, inputs, {.num_beams = 1, .min_len = 0}, first).new_tokens()[0],
            std::vector<std::int64_t>{first});
  // min_len includes the start id, so there are three more ids before the end.
  EXPECT_GE(
      predict_answers(model, inputs, {.num_beams = 1, .min_len = 4}, first).new_tokens()[0].size(),
      4u);
}

TEST_P(Answers, TheDefaultLengthPenaltyDependsOnTheDecoder) {
  const double own = kind == "t5" ? -1.0 : 0.0, other = -1.0 - own;
  int differ = 0;
  for (std::int64_t first = 3; first < 33; ++first) {
    std::vector<std::int64_t> eos(20);
    std::iota(eos.begin(), eos.end(), first);
    const auto answer = [&](std::optional<double> penalty) {
      return predict_answers(model, inputs, {.length_penalty = penalty}, eos).new_tokens();
    };
    const auto found = answer({});
    EXPECT_EQ(found, answer(own));
    differ += found != answer(other);
  }
  // For the other models, the best answer is too far ahead of the next.
  EXPECT_GE(differ, kind == "opt" ? 1 : 0);
}

TEST_P(Answers, InvalidArgumentsAreErrors) {
  expect_error<InputError>([&] { rank_candidates(model, inputs, {}); }, {"no candidates"});
  expect_error<InputError>(
      [&] {
        rank_candidates(model, inputs, {{5}, {}}, {.score_eos = false});
      },
      {"candidate 1 is empty"});
  expect_error<InputError>(
      [&] {
        rank_candidates(model, inputs, {{5, 100}});
      },
      {"candidate 0", "100", "0 to 99"});
  expect_error<InputError>([&] { rank_candidates(model, inputs, {{-1}}); }, {"-1"});
  expect_error<InputError>([&] { rank_candidates(model, inputs, {{5}}, {.batch_size = 0}); },
                           {"batch_size"});
  expect_error<InputError>([&] { rank_candidates(model, {}, {{5}}); });
}

/// A processor for the models of fixtures/instructblip. Its image token has id 99, as in the
/// models; its EOS, [SEP], has a different id.
class TextAnswers : public Answers {
 protected:
  TextAnswers() {
    const auto vocabulary = [](int size) {
      std::string words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nis\nit\nred\nblue\n?\n##ish\n";
      // White space at both ends of a decoded answer.
      for (int i = 11; i < size; ++i) words += "\tword" + std::to_string(i) + "\t\n";
      return words;
    };
    const char* config =
        R"({"tokenizer_class": "BertTokenizer", "eos_token": "[SEP]", "padding_side": "left"})";
    folder.write("preprocessor_config.json", R"({"size": {"height": 16, "width": 16}})");
    folder.write("processor_config.json", R"({"num_query_tokens": 4})");
    folder.write("vocab.txt", vocabulary(99));
    folder.write("tokenizer_config.json", config);
    folder.write("qformer_tokenizer/vocab.txt", vocabulary(50));
    folder.write("qformer_tokenizer/tokenizer_config.json", config);
    for (int image = 0; image < 4; ++image) {
      std::vector<std::uint8_t> pixels;
      for (int i = 0; i < 16 * 16 * 3; ++i) {
        pixels.push_back(static_cast<std::uint8_t>((i * i + 90 * image) % 256));
      }
      images.push_back(Image::from_pixels(pixels.data(), 16, 16, PixelFormat::RGB));
    }
  }

  testing::TemporaryFolder folder;
  InstructBlipProcessor processor() const {
    return InstructBlipProcessor::from_pretrained(folder.path());
  }
  std::vector<Image> images;
  const std::vector<std::string> prompts = {"is it red?", "is it blue, word20 or reddish?"};
  const std::vector<std::string> texts = {"red", "redish", "blue blue blue", "it is red", "é"};
  const std::vector<std::vector<std::int64_t>> ids = {{7}, {7, 10}, {8, 8, 8}, {6, 5, 7}, {1}};
};

TEST_P(TextAnswers, TextsAreRankedLikeTheirIdsWithTheTokenizersEos) {
  const auto own = processor();
  auto ids_with_end = ids;
  for (auto& candidate : ids_with_end) candidate.push_back(3);
  for (const std::size_t images_each : {1, 2}) {
    const std::vector<Image> used(images.begin(), images.begin() + 2 * images_each);
    const BatchFeature both =
        own(used, prompts, {.padding = PaddingStrategy::Longest, .padding_side = Side::Right});
    const auto expected = [&](bool end) {
      return rank_candidates(model, InstructBlipInputs::from(both), end ? ids_with_end : ids,
                             {.score_eos = false})
          .log_likelihoods;
    };
    const auto found = [&](std::optional<bool> end) {
      return rank_candidates(model, own, used, prompts, texts, {.score_eos = end}).log_likelihoods;
    };
    expect_equal(found({}), expected(kind == "t5"));
    expect_equal(found(false), expected(false));
    expect_equal(found(true), expected(true));
  }
}

TEST_P(TextAnswers, ABatchIsRankedLikeEachPromptAlone) {
  const auto own = processor();
  const auto together =
      rank_candidates(model, own, {images[0], images[1]}, prompts, texts).log_likelihoods;
  const auto lists = predict_class(model, own, {images[0], images[1]}, prompts,
                                   {{"blue", "red"}, {"red", "blue", "red", "it"}});
  ASSERT_EQ(lists.size(), 2u);
  EXPECT_EQ(lists[0].size(), 2u);
  EXPECT_EQ(lists[1].size(), 4u);
  for (std::size_t b = 0; b < 2; ++b) {
    const auto alone = rank_candidates(model, own, {images[b]}, {prompts[b]}, texts);
    for (Index c = 0; c < 5; ++c) {
      EXPECT_EQ(together.at<float>({static_cast<Index>(b), c}),
                alone.log_likelihoods.at<float>({0, c}));
    }
  }
  const auto second = predict_class(model, own, {images[1]}, {prompts[1]},
                                    std::vector<std::string>{"red", "blue", "red", "it"});
  const auto values = second.span<std::int64_t>();
  EXPECT_EQ(lists[1], std::vector<std::int64_t>(values.begin(), values.end()));
}

TEST_P(TextAnswers, MismatchedCountsAndEmptyCandidatesAreErrors) {
  const auto own = processor();
  expect_error<InputError>([&] { rank_candidates(model, own, {images[0]}, prompts, texts); },
                           {"1 images", "2 prompts"});
  expect_error<InputError>([&] { rank_candidates(model, own, images, {}, texts); }, {"0 prompts"});
  expect_error<InputError>(
      [&] {
        predict_answers(model, own, {images[0]}, {{}, {}});
      },
      {"1 images", "2 prompts"});
  expect_error<InputError>(
      [&] {
        predict_class(model, own, {images[0], images[1]}, prompts,
                      std::vector<std::vector<std::string>>{{"red"}});
      },
      {"2 prompts", "1 lists"});
  expect_error<InputError>(
      [&] {
        rank_candidates(model, own, {images[0]}, {prompts[0]}, {"red", ""}, {.score_eos = false});
      },
      {"candidate 1 is empty"});
  const Tensor scores =
      rank_candidates(model, own, {images[0]}, {prompts[0]}, {"red", ""}, {.score_eos = true})
          .log_likelihoods;
  EXPECT_LT(scores.at<float>({0, 1}), 0.0f);
}

TEST_P(TextAnswers, ShortAnswersEndAtTheTokenizersEosAndAreStripped) {
  const auto own = processor();
  const std::vector<Image> used = {images[0], images[1]};
  const BatchFeature both = own(used, {"Q: " + prompts[0], "Q: " + prompts[1]},
                                {.padding = PaddingStrategy::Longest, .padding_side = Side::Right});
  for (const Index beams : {1, 5}) {
    const PredictAnswersOptions options{.prompt = "Q: {}", .num_beams = beams, .max_len = 6};
    const auto output = predict_answers(model, InstructBlipInputs::from(both), options, 3);
    auto expected = own.batch_decode(output.new_tokens(), {.skip_special_tokens = true});
    for (std::string& text : expected) {
      // OPT's answers consist of other ids.
      EXPECT_TRUE(kind == "opt" || text.starts_with('\t') || text.ends_with('\t')) << text;
      if (kind == "t5") continue;
      text.erase(0, text.find_first_not_of(" \t"));
      text.erase(text.find_last_not_of(" \t") + 1);
    }
    EXPECT_EQ(predict_answers(model, own, used, {{prompts[0]}, {prompts[1]}}, options), expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, TextAnswers, ::testing::Values("opt", "llama", "t5"));
INSTANTIATE_TEST_SUITE_P(Kinds, Answers, ::testing::Values("opt", "llama", "t5"));

TEST(RankCandidates, LongCandidatesBeyondThePositionTableAreAnError) {
  const auto folder = testing::fixtures_folder() / "instructblip/opt";
  const auto model = InstructBlipForConditionalGeneration::from_pretrained(folder);
  const Fixture batch("instructblip/opt/expected");
  const Tensor pixels = batch["forward.no_masks.pixel_values"];
  const Tensor qformer_ids = batch["forward.no_masks.qformer_input_ids"];
  const Tensor ids = batch["forward.no_masks.input_ids"];
  InstructBlipInputs inputs;
  inputs.pixel_values = pixels;
  inputs.qformer_input_ids = qformer_ids;
  inputs.input_ids = ids;
  expect_error<InputError>(
      [&] { rank_candidates(model, inputs, {std::vector<std::int64_t>(80, 5)}); },
      {"position 64", "max_position_embeddings 64"});
}

TEST(PredictAnswersOptions, ATaskSetsPromptAndDecoding) {
  const auto options = PredictAnswersOptions::from(task_preset("coco_caption"));
  EXPECT_EQ(options.prompt, "A short image caption.");
  EXPECT_EQ(options.num_beams, 5);
  EXPECT_EQ(options.max_len, 80);
  EXPECT_EQ(options.min_len, 10);
  EXPECT_EQ(options.length_penalty, 1.0);
  EXPECT_EQ(options.repetition_penalty, 1.15);
  EXPECT_FALSE(PredictAnswersOptions::from(task_preset("okvqa")).length_penalty);
}

}  // namespace
}  // namespace instructblip
