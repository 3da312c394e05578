#include <algorithm>
#include <map>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "program.h"

namespace examples {
namespace {

using instructblip::EarlyStopping;
using instructblip::ExponentialDecay;
using instructblip::GenerationConfig;
using instructblip::Index;
using instructblip::SequenceBias;
using instructblip::TokenIds;

// What --help says about a flag, and the group in which it says so.
struct Help {
  const char* group;
  std::string text;
};

constexpr const char* kBasic = "Options";
constexpr const char* kLength = "Length of an answer";
constexpr const char* kBeams = "Beam search";
constexpr const char* kSampling = "Sampling";
constexpr const char* kDrafts = "Drafts, which change the speed and not the answer";
constexpr const char* kScores = "Choice of tokens";
constexpr const char* kIds = "Special ids";

// A field without a line has no flag. A default that the program sets replaces the one named here.
const std::map<std::string, Help, std::less<>>& help_of_fields() {
  static const std::map<std::string, Help, std::less<>> help = {
      {"max_new_tokens", {kBasic, "maximum number of tokens per answer (default 20)"}},
      {"max_length", {kLength, "maximum length of prompt and answer in tokens"}},
      {"min_length", {kLength, "minimum length of prompt and answer in tokens"}},
      {"min_new_tokens", {kLength, "minimum number of tokens per answer"}},
      {"max_time", {kLength, "maximum time per answer in seconds"}},
      {"stop_strings", {kLength, "end the answer after this text; may be given several times"}},
      {"exponential_decay_length_penalty",
       {kLength, "START,FACTOR: the end becomes more likely after START tokens"}},
      {"num_beams", {kBeams, "number of beams; 1 means no beam search (default 1)"}},
      {"early_stopping", {kBeams, "when beam search stops: true, false or never"}},
      {"length_penalty", {kBeams, "above 0 favours long answers, below 0 short ones"}},
      {"num_return_sequences", {kBeams, "number of answers per question, also of sampling"}},
      {"do_sample", {kSampling, "draw tokens at random instead of taking the most likely"}},
      {"prompt_lookup_num_tokens",
       {kDrafts, "verify up to this many tokens at once that followed the same words before"}},
      {"max_matching_ngram_size", {kDrafts, "number of tokens that are looked up (default 2)"}},
      {"temperature",
       {kSampling, "below 1 sharpens the distribution, above 1 flattens it (default 1)"}},
      {"top_k", {kSampling, "keep the k most likely tokens (default 50)"}},
      {"top_p", {kSampling, "keep the most likely tokens that add up to this probability"}},
      {"min_p", {kSampling, "keep tokens above this fraction of the highest probability"}},
      {"top_h", {kSampling, "keep tokens within this fraction of the entropy"}},
      {"typical_p", {kSampling, "keep the most typical tokens that add up to this probability"}},
      {"epsilon_cutoff", {kSampling, "keep tokens above this probability"}},
      {"eta_cutoff", {kSampling, "like --epsilon-cutoff, adapted to the entropy"}},
      {"seed", {kSampling, "seed of the random numbers"}},
      {"repetition_penalty", {kScores, "above 1: tokens that occurred before become less likely"}},
      {"no_repeat_ngram_size", {kScores, "no sequence of this many tokens occurs twice"}},
      {"bad_words_ids",
       {kScores,
        "sequence of ids, separated by commas, that must not occur; may be given several times"}},
      {"sequence_bias",
       {kScores,
        "IDS=BIAS, ids separated by commas: BIAS is added to the score of the last id after the "
        "others; may be given several times"}},
      {"suppress_tokens", {kScores, "ids that are never generated"}},
      {"begin_suppress_tokens", {kScores, "ids that do not begin an answer"}},
      {"renormalize_logits", {kScores, "normalise scores after all other changes"}},
      {"remove_invalid_values", {kScores, "replace scores that are not finite"}},
      {"forced_bos_token_id", {kIds, "first token of an answer (encoder-decoder models)"}},
      {"forced_eos_token_id", {kIds, "tokens forced at the maximum length"}},
      {"pad_token_id", {kIds, "id that fills up answers that end early"}},
      {"bos_token_id", {kIds, "id that begins an empty prompt"}},
      {"eos_token_id", {kIds, "ids that end an answer"}},
      {"decoder_start_token_id", {kIds, "first id of the decoder (encoder-decoder models)"}},
  };
  return help;
}

std::string flag_of(std::string_view field) {
  std::string flag = "--" + std::string(field);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

// For CLI::Option::check, which names the flag.
std::string check_ids(const std::string& text) {
  for (const std::string& part : CLI::detail::split(text, ',')) {
    if (std::string error = check_whole_number<std::int64_t>(CLI::detail::trim_copy(part));
        !error.empty())
      return error;
  }
  return "";
}

std::vector<std::int64_t> parse_ids(const std::string& text) {
  std::vector<std::int64_t> ids;
  for (const std::string& part : CLI::detail::split(text, ',')) ids.push_back(std::stoll(part));
  return ids;
}

double parse_number(const std::string& text) {
  double number = 0;
  if (!CLI::detail::lexical_cast(text, number)) throw CLI::ConversionError(text, "a number");
  return number;
}

// `help` with its default replaced by `value`.
template <class Number>
std::string with_default(const std::string& help, Number value) {
  std::ostringstream text;
  text << help.substr(0, help.find(" (default")) << " (default " << value << ")";
  return text.str();
}

// One overload per type of field: how its flag is parsed.
template <class Number>
CLI::Option* add_flag(CLI::App& app, const std::string& flag, std::optional<Number>& field,
                      const std::string& help) {
  CLI::Option* option = app.add_option_function<Number>(
      flag, [&field](const Number& value) { field = value; },
      field ? with_default(help, *field) : help);
  if constexpr (std::is_integral_v<Number>) option->check(check_whole_number<Number>);
  return option;
}

CLI::Option* add_flag(CLI::App& app, const std::string& flag, std::optional<bool>& field,
                      const std::string& help) {
  return app.add_flag_callback(
      flag, [&field] { field = true; }, help);
}

CLI::Option* add_flag(CLI::App& app, const std::string& flag, std::optional<EarlyStopping>& field,
                      const std::string& help) {
  return app
      .add_option_function<std::string>(
          flag,
          [&field](const std::string& value) {
            field = value == "never" ? EarlyStopping("never")
                                     : EarlyStopping(value == "true" || value == "True");
          },
          help)
      ->check(CLI::IsMember({"true", "false", "never", "True", "False"}));  // Python's, too
}

CLI::Option* add_flag(CLI::App& app, const std::string& flag,
                      std::optional<ExponentialDecay>& field, const std::string& help) {
  return app
      .add_option_function<std::string>(
          flag,
          [&field](const std::string& text) {
            const auto parts = CLI::detail::split(text, ',');
            field = ExponentialDecay{std::stoll(parts[0]), parse_number(parts[1])};
          },
          help)
      ->check([](const std::string& text) {
        const auto parts = CLI::detail::split(text, ',');
        return parts.size() == 2 ? check_whole_number<Index>(parts[0])
                                 : text + " is not START,FACTOR";
      });
}

CLI::Option* add_flag(CLI::App& app, const std::string& flag, TokenIds& field,
                      const std::string& help) {
  return app
      .add_option_function<std::string>(
          flag, [&field](const std::string& text) { field = parse_ids(text); }, help)
      ->check(check_ids);
}

CLI::Option* add_flag(CLI::App& app, const std::string& flag, std::vector<std::int64_t>& field,
                      const std::string& help) {
  return app
      .add_option_function<std::string>(
          flag, [&field](const std::string& text) { field = parse_ids(text); }, help)
      ->check(check_ids);
}

CLI::Option* add_flag(CLI::App& app, const std::string& flag, std::vector<std::string>& field,
                      const std::string& help) {
  return app.add_option(flag, field, help)->allow_extra_args(false)->check(check_text);
}

CLI::Option* add_flag(CLI::App& app, const std::string& flag,
                      std::vector<std::vector<std::int64_t>>& field, const std::string& help) {
  return app
      .add_option_function<std::vector<std::string>>(
          flag,
          [&field](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) field.push_back(parse_ids(text));
          },
          help)
      ->check(check_ids)
      ->allow_extra_args(false);
}

CLI::Option* add_flag(CLI::App& app, const std::string& flag, std::vector<SequenceBias>& field,
                      const std::string& help) {
  return app
      .add_option_function<std::vector<std::string>>(
          flag,
          [&field](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) {
              const auto parts = CLI::detail::split(text, '=');
              field.push_back({parse_ids(parts[0]), parse_number(parts[1])});
            }
          },
          help)
      ->check([](const std::string& text) {
        const auto parts = CLI::detail::split(text, '=');
        return parts.size() == 2 ? check_ids(parts[0]) : text + " is not IDS=BIAS";
      })
      ->allow_extra_args(false);
}

}  // namespace

void add_generation_flags(CLI::App& app, GenerationConfig& config) {
  instructblip::visit_fields([&](const std::string& name, auto member) {
    const auto help = help_of_fields().find(name);
    if (help == help_of_fields().end()) return;
    const std::string flag = (name == "max_new_tokens" ? "-n," : "") + flag_of(name);
    CLI::Option* option = add_flag(app, flag, config.*member, help->second.text);
    option->group(help->second.group);
    // `generate` takes a negative number of tokens as none.
    if (name.starts_with("max_") || name.starts_with("min_")) option->check(check_at_least<0>);
    if (name == "max_length") option->check(check_at_least<1>);
  });
  app.parse_complete_callback([&app, &config] {
    // A program's default for max_new_tokens would override the user's --max-length.
    if (app.count("--max-length") > 0 && app.count("--max-new-tokens") == 0) {
      config.max_new_tokens.reset();
    }
    try {
      config.validate();
    } catch (const instructblip::InputError& error) {
      throw CLI::ValidationError(with_flag_names(error.what()));
    }
  });
}

std::string with_flag_names(std::string_view message) {
  std::string text;
  while (!message.empty()) {
    const std::size_t begin = message.find('`');
    const std::size_t end = begin == message.npos ? begin : message.find('`', begin + 1);
    if (end == message.npos) break;
    const std::string_view name = message.substr(begin + 1, end - begin - 1);
    text += message.substr(0, begin);
    if (help_of_fields().contains(name)) {
      text += flag_of(name);
    } else if (name == "TokenizerOptions::loader") {
      text += "--tokenizer";
    } else {
      text += message.substr(begin, end + 1 - begin);
    }
    message.remove_prefix(end + 1);
  }
  return text += message;
}

}  // namespace examples
