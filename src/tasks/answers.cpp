#include "instructblip/tasks/answers.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "instructblip/core/error.h"
#include "instructblip/core/index.h"
#include "instructblip/generation/sampling.h"

namespace instructblip {
namespace detail {

// The language model's state after the prompts.
struct ReadPrompts {
  std::unique_ptr<DecoderState> state;
  Tensor logits;  // [prompts, vocab_size], of the next token
};

ReadPrompts read_prompts(const LanguageModel& model, EmbeddedBatch prompt) {
  ReadPrompts read;
  const Index count = prompt.batch.batch;
  for (Index b = 0; b < count; ++b) {
    if (prompt.batch.rows.count(b) == 0) {
      throw InputError("prompt " + std::to_string(b) + " is empty: all of it is masked out");
    }
  }
  if (!model.traits().is_encoder_decoder) {
    prompt.batch.use_compact_positions();
    read.state = model.start(prompt.embeddings, prompt.batch.rows);
    read.logits = model.decode(*read.state, prompt.embeddings, prompt.batch.rows).logits;
    return read;
  }
  if (!model.traits().decoder_start_token_id) {
    throw InputError("text_config has no decoder_start_token_id, the first id of an answer");
  }
  read.state = model.start(prompt.embeddings, prompt.batch.rows);
  const std::vector<std::int64_t> starts(to_size(count), *model.traits().decoder_start_token_id);
  read.logits =
      model.decode(*read.state, model.embed_decoder_tokens(starts), RowTable::uniform(count, 1))
          .logits;
  return read;
}

std::vector<std::vector<std::int64_t>> checked_candidates(
    const LanguageModelTraits& traits, std::vector<std::vector<std::int64_t>> candidates,
    const RankOptions& options) {
  if (candidates.empty()) throw InputError("there are no candidates to rank");
  if (options.batch_size < 1) {
    throw InputError("RankOptions::batch_size is " + std::to_string(options.batch_size) +
                     ", expected at least 1");
  }
  const bool score_eos = options.score_eos.value_or(traits.is_encoder_decoder);
  if (score_eos && traits.eos_token_id.empty()) {
    throw InputError("the end of the candidates cannot be scored: text_config has no eos_token_id");
  }
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    if (candidates[c].empty() && !score_eos) {
      throw InputError("candidate " + std::to_string(c) + " is empty, and its end is not scored");
    }
    for (const std::int64_t id : candidates[c]) {
      if (id < 0 || id >= traits.vocab_size) {
        throw InputError("candidate " + std::to_string(c) + " contains the id " +
                         std::to_string(id) + ", expected 0 to " +
                         std::to_string(traits.vocab_size - 1));
      }
    }
    if (score_eos) candidates[c].push_back(traits.eos_token_id.front());
  }
  return candidates;
}

// Adds up the log probabilities of some (prompt, candidate) pairs. The state keeps the sequences of
// the prompts, followed by one fork per pair; the next call drops the forks.
void score_pairs(const LanguageModel& model, ReadPrompts& read, Index prompts,
                 const std::vector<std::vector<std::int64_t>>& candidates, Index first_pair,
                 Index last_pair, std::vector<double>& sums) {
  const Index vocab_size = model.traits().vocab_size;
  const auto candidate_count = static_cast<Index>(candidates.size());
  const auto row_of = [&](const float* logits) {
    return std::span<const float>(logits, to_size(vocab_size));
  };
  std::vector<Index> sources(to_size(prompts));
  std::iota(sources.begin(), sources.end(), Index{0});
  RowTable rows = RowTable::uniform(prompts, 0);
  std::vector<std::int64_t> fed;
  for (Index pair = first_pair; pair < last_pair; ++pair) {
    const Index prompt = pair / candidate_count;
    const auto& ids = at(candidates, pair % candidate_count);
    at(sums, pair) =
        log_probability(row_of(read.logits.data<float>() + prompt * vocab_size), ids.front());
    if (ids.size() == 1) continue;
    sources.push_back(prompt);
    rows.append(static_cast<Index>(ids.size()) - 1, read.state->length(prompt));
    fed.insert(fed.end(), ids.begin(), ids.end() - 1);
  }
  if (fed.empty()) return;

  read.state->reorder(sources);
  const Tensor logits =
      model.decode(*read.state, model.embed_decoder_tokens(fed), rows, LogitsFor::AllRows).logits;
  const float* row = logits.data<float>();
  for (Index pair = first_pair; pair < last_pair; ++pair) {
    const auto& ids = at(candidates, pair % candidate_count);
    for (std::size_t i = 1; i < ids.size(); ++i, row += vocab_size) {
      at(sums, pair) += log_probability(row_of(row), ids[i]);
    }
  }
}

// Per row, the indices sorted by score, the best first.
Tensor rank_rows(const Tensor& scores) {
  Tensor ranks(DType::Int64, scores.shape());
  const Index count = scores.dim(1);
  for (Index b = 0; b < scores.dim(0); ++b) {
    std::int64_t* row = ranks.data<std::int64_t>() + b * count;
    const float* score = scores.data<float>() + b * count;
    std::iota(row, row + count, std::int64_t{0});
    std::stable_sort(row, row + count,
                     [&](std::int64_t a, std::int64_t c) { return score[a] > score[c]; });
  }
  return ranks;
}

void check_texts(const std::vector<Image>& images, std::size_t prompts) {
  if (prompts == 0 || images.size() % prompts != 0) {
    throw InputError(std::to_string(images.size()) + " images for " + std::to_string(prompts) +
                     " prompts: each prompt needs the same number of images");
  }
}

// Pads on the right whatever the folder says, as LAVIS does for the Q-Former and T5, because
// padding before a text would shift its positions there. A decoder-only model does not count
// padding.
BatchFeature encode_prompts(const ImageTextToTextProcessor& processor,
                            const std::vector<Image>& images,
                            const std::vector<std::string>& prompts) {
  check_texts(images, prompts.size());
  return processor(images, prompts,
                   {.padding = PaddingStrategy::Longest, .padding_side = Side::Right});
}

std::vector<std::vector<std::int64_t>> encode_candidates(
    const Tokenizer& tokenizer, const std::vector<std::string>& candidates) {
  std::vector<std::vector<std::int64_t>> ids;
  for (const std::string& candidate : candidates) {
    ids.push_back(tokenizer.encode(candidate, {.add_special_tokens = false}));
  }
  return ids;
}

TokenIds eos_of(const Tokenizer& tokenizer) {
  const auto id = tokenizer.eos_token_id();
  return id ? TokenIds(*id) : TokenIds();
}

std::string stripped(const std::string& text) {
  constexpr const char* kSpace = " \t\n\v\f\r";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

}  // namespace detail

CandidateRanks rank_candidates(const ImageTextToTextModel& model,
                               const ImageTextToTextInputs& inputs,
                               const std::vector<std::vector<std::int64_t>>& candidates,
                               const RankOptions& options) {
  const LanguageModel& language_model = model.language_model();
  const auto checked = detail::checked_candidates(language_model.traits(), candidates, options);
  detail::ReadPrompts read = detail::read_prompts(language_model, model.embed_prompt(inputs));
  const Index prompts = read.logits.dim(0);
  const auto candidate_count = static_cast<Index>(checked.size());
  const Index pairs = prompts * candidate_count;
  std::vector<double> sums(to_size(pairs));
  for (Index first = 0; first < pairs; first += options.batch_size) {
    detail::score_pairs(language_model, read, prompts, checked, first,
                        std::min(first + options.batch_size, pairs), sums);
  }
  CandidateRanks result;
  result.log_likelihoods = Tensor(DType::Float32, {prompts, candidate_count});
  for (Index pair = 0; pair < pairs; ++pair) {
    const auto& ids = at(checked, pair % candidate_count);
    const double length = options.mean ? static_cast<double>(ids.size()) : 1.0;
    const double score = at(sums, pair) / length;
    if (std::isnan(score)) {
      throw InputError("the log-likelihood of candidate " + std::to_string(pair % candidate_count) +
                       " for prompt " + std::to_string(pair / candidate_count) +
                       " is not a number: the model's logits are not finite");
    }
    result.log_likelihoods.data<float>()[pair] = static_cast<float>(score);
  }
  result.ranks = detail::rank_rows(result.log_likelihoods);
  return result;
}

CandidateRanks rank_candidates(const ImageTextToTextModel& model,
                               const ImageTextToTextProcessor& processor,
                               const std::vector<Image>& images,
                               const std::vector<std::string>& prompts,
                               const std::vector<std::string>& candidates,
                               const RankOptions& options) {
  const BatchFeature features = detail::encode_prompts(processor, images, prompts);
  auto ids = detail::encode_candidates(processor.tokenizer(), candidates);
  RankOptions own = options;
  // Use the tokenizer's EOS, because text_config may have a different one.
  const auto eos = processor.tokenizer().eos_token_id();
  const bool encoder_decoder = model.language_model().traits().is_encoder_decoder;
  if (eos && options.score_eos.value_or(encoder_decoder)) {
    for (auto& candidate : ids) candidate.push_back(*eos);
    own.score_eos = false;
  }
  return rank_candidates(model, ImageTextToTextInputs::from(features), ids, own);
}

Tensor predict_class(const ImageTextToTextModel& model, const ImageTextToTextProcessor& processor,
                     const std::vector<Image>& images, const std::vector<std::string>& prompts,
                     const std::vector<std::string>& candidates, const RankOptions& options) {
  return rank_candidates(model, processor, images, prompts, candidates, options).ranks;
}

std::vector<std::vector<std::int64_t>> predict_class(
    const ImageTextToTextModel& model, const ImageTextToTextProcessor& processor,
    const std::vector<Image>& images, const std::vector<std::string>& prompts,
    const std::vector<std::vector<std::string>>& candidates, const RankOptions& options) {
  detail::check_texts(images, prompts.size());
  if (candidates.size() != prompts.size()) {
    throw InputError(std::to_string(prompts.size()) + " prompts, but " +
                     std::to_string(candidates.size()) +
                     " lists of candidates; give one list per prompt");
  }
  const auto each = static_cast<std::ptrdiff_t>(images.size() / prompts.size());
  std::vector<std::vector<std::int64_t>> ranks;
  for (std::size_t b = 0; b < prompts.size(); ++b) {
    const auto first = images.begin() + static_cast<std::ptrdiff_t>(b) * each;
    const Tensor own = predict_class(model, processor, std::vector<Image>(first, first + each),
                                     {prompts[b]}, candidates[b], options);
    const auto values = own.span<std::int64_t>();
    ranks.emplace_back(values.begin(), values.end());
  }
  return ranks;
}

PredictAnswersOptions PredictAnswersOptions::from(const TaskPreset& task) {
  return {.prompt = std::string(task.prompt),
          .num_beams = task.num_beams,
          .max_len = task.max_len,
          .min_len = task.min_len,
          .length_penalty = task.length_penalty,
          .repetition_penalty = task.repetition_penalty};
}

GenerateOutput predict_answers(const ImageTextToTextModel& model,
                               const ImageTextToTextInputs& inputs,
                               const PredictAnswersOptions& options, const TokenIds& eos_token_id) {
  const LanguageModel& language_model = model.language_model();
  const bool encoder_decoder = language_model.traits().is_encoder_decoder;
  const EmbeddedBatch prompt = model.embed_prompt(inputs);
  GenerationConfig config;
  GenerateCallbacks callbacks;
  config.num_beams = options.num_beams;
  if (encoder_decoder) {
    config.max_new_tokens = options.max_len;
    config.min_length = options.min_len;
    config.repetition_penalty = options.repetition_penalty;
  } else {
    // Not in `config`, where it would log a warning that the penalty does not apply to the prompt.
    callbacks.logits_processor = {
        std::make_shared<RepetitionPenaltyLogitsProcessor>(options.repetition_penalty)};
    // min_length and max_length would include the prompt.
    config.max_new_tokens = options.max_len > 1 ? options.max_len - 1 : options.max_len;
    if (options.min_len > 1) config.min_new_tokens = options.min_len - 1;
  }
  config.length_penalty = options.length_penalty.value_or(encoder_decoder ? -1.0 : 0.0);
  config.eos_token_id = eos_token_id;
  return generate(language_model, {.inputs_embeds = prompt.embeddings, .batch = prompt.batch},
                  config, callbacks);
}

std::vector<std::string> predict_answers(const ImageTextToTextModel& model,
                                         const ImageTextToTextProcessor& processor,
                                         const std::vector<Image>& images,
                                         const std::vector<PromptParts>& questions,
                                         const PredictAnswersOptions& options) {
  std::vector<std::string> prompts;
  for (const PromptParts& question : questions) {
    prompts.push_back(build_prompt(options.prompt, question));
  }
  const BatchFeature features = detail::encode_prompts(processor, images, prompts);
  const GenerateOutput output = predict_answers(model, ImageTextToTextInputs::from(features),
                                                options, detail::eos_of(processor.tokenizer()));
  std::vector<std::string> answers =
      processor.batch_decode(output.new_tokens(), {.skip_special_tokens = true});
  if (!model.language_model().traits().is_encoder_decoder) {
    for (std::string& answer : answers) answer = detail::stripped(answer);
  }
  return answers;
}

}  // namespace instructblip
