#include "generation/resolved_config.h"

#include <typeinfo>

#include "generation/prompt.h"
#include "generation/toy_tokenizer.h"
#include "support/log_capture.h"

namespace instructblip::testing {
namespace {

template <class... Processors>
std::vector<std::string> names() {
  return {typeid(Processors).name()...};
}

TEST(ResolvedConfig, ProcessorsAreInTheReferencesOrder) {
  const LogCapture log;
  const GenerationConfig config{.max_new_tokens = 9,
                                .min_new_tokens = 3,
                                .do_sample = true,
                                .temperature = 0.5,
                                .top_k = 7,
                                .top_p = 0.9,
                                .min_p = 0.1,
                                .top_h = 0.5,
                                .typical_p = 0.9,
                                .epsilon_cutoff = 0.1,
                                .eta_cutoff = 0.1,
                                .repetition_penalty = 1.5,
                                .no_repeat_ngram_size = 2,
                                .bad_words_ids = {{5}},
                                .renormalize_logits = true,
                                .forced_bos_token_id = 4,
                                .forced_eos_token_id = 5,
                                .remove_invalid_values = true,
                                .exponential_decay_length_penalty = ExponentialDecay{1, 1.5},
                                .suppress_tokens = {6},
                                .begin_suppress_tokens = {7},
                                .sequence_bias = {{{8}, 1.0}}};
  LanguageModelTraits traits;
  traits.vocab_size = 20;
  traits.eos_token_id = {2};
  detail::ResolvedConfig resolved = detail::resolve(config, traits);
  detail::Prompt prompt;
  prompt.ids = Tensor(std::vector<std::int64_t>{1, 3}, {1, 2});
  prompt.batch = PaddedBatch(1, 2);
  detail::resolve_lengths(resolved, prompt, traits);
  const auto own = logits_processor([](const ScoreRow&) {});
  const LogitsProcessorList list = detail::make_processors(
      resolved, prompt, {own},
      [](Index, std::span<const std::int64_t>) { return std::vector<std::int64_t>{1}; });
  std::vector<std::string> found;
  for (const auto& processor : list) {
    const LogitsProcessor& object = *processor;
    found.emplace_back(typeid(object).name());
  }
  std::vector<std::string> expected =
      names<SequenceBiasLogitsProcessor, RepetitionPenaltyLogitsProcessor,
            NoRepeatNGramLogitsProcessor, NoBadWordsLogitsProcessor, MinLengthLogitsProcessor,
            MinNewTokensLengthLogitsProcessor, PrefixConstrainedLogitsProcessor,
            ForcedBOSTokenLogitsProcessor, ForcedEOSTokenLogitsProcessor,
            InfNanRemoveLogitsProcessor, ExponentialDecayLengthPenalty,
            SuppressTokensLogitsProcessor, SuppressTokensAtBeginLogitsProcessor>();
  const LogitsProcessor& callers = *own;
  expected.emplace_back(typeid(callers).name());
  for (const std::string& warper :
       names<TemperatureLogitsWarper, TopHLogitsWarper, TopKLogitsWarper, TopPLogitsWarper,
             MinPLogitsWarper, TypicalLogitsWarper, EpsilonLogitsWarper, EtaLogitsWarper,
             LogitNormalization>()) {
    expected.push_back(warper);
  }
  EXPECT_EQ(found, expected);
}

TEST(ResolvedConfig, TheFirstCriterionMetGivesTheReason) {
  detail::ResolvedConfig resolved;
  resolved.eos_token_id = {1};
  resolved.max_length = 2;
  resolved.config.stop_strings = {"b"};
  resolved.config.max_time = -1;
  const ToyTokenizer tokenizer({"a", "b", "abcdef"});
  const std::atomic<bool> cancelled = true;
  const auto own = stopping_criterion([](const StoppingRow&) { return true; });
  StoppingCriteriaList criteria = detail::make_criteria(resolved, &tokenizer, &cancelled, {own});
  const std::vector<std::int64_t> ids = {0, 1};
  const StoppingRow rows[] = {{ids, {}, 0}};
  for (const FinishReason expected :
       {FinishReason::EosToken, FinishReason::StopString, FinishReason::Criterion,
        FinishReason::Length, FinishReason::Cancelled, FinishReason::MaxTime}) {
    EXPECT_EQ(detail::evaluate(criteria, rows)[0], expected);
    criteria.erase(criteria.begin());
  }
  EXPECT_TRUE(criteria.empty());
}

}  // namespace
}  // namespace instructblip::testing
