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

// One line of --help per flag. A field without a line has no flag. A default that the program sets
// replaces the one named here.
const std::map<std::string, std::string>& help_of_fields() {
  static const std::map<std::string, std::string> help = {
      {"max_length", "maximum length of prompt and answer in tokens"},
      {"max_new_tokens", "maximum number of tokens per answer (default 20)"},
      {"min_length", "minimum length of prompt and answer in tokens"},
      {"min_new_tokens", "minimum number of tokens per answer"},
      {"early_stopping", "when beam search stops: true, false or never"},
      {"max_time", "maximum time per answer in seconds"},
      {"stop_strings", "end the answer after this text; may be given several times"},
      {"do_sample", "draw tokens at random instead of taking the most likely"},
      {"num_beams", "number of beams; 1 means no beam search (default 1)"},
      {"temperature", "sampling: below 1 sharpens the distribution, above 1 flattens it"},
      {"top_k", "sampling: keep the k most likely tokens (default 50)"},
      {"top_p", "sampling: keep the most likely tokens that add up to this probability"},
      {"min_p", "sampling: keep tokens above this fraction of the highest probability"},
      {"top_h", "sampling: keep tokens within this fraction of the entropy"},
      {"typical_p", "sampling: keep the most typical tokens that add up to this probability"},
      {"epsilon_cutoff", "sampling: keep tokens above this probability"},
      {"eta_cutoff", "sampling: like epsilon-cutoff, adapted to the entropy"},
      {"repetition_penalty", "above 1: tokens that occurred before become less likely"},
      {"length_penalty", "beam search: above 0 favours long answers, below 0 short ones"},
      {"no_repeat_ngram_size", "no sequence of this many tokens occurs twice"},
      {"bad_words_ids",
       "sequence of ids, separated by commas, that must not occur; may be given several times"},
      {"renormalize_logits", "normalise scores after all other changes"},
      {"forced_bos_token_id", "first token of an answer (encoder-decoder models)"},
      {"forced_eos_token_id", "tokens forced at the maximum length"},
      {"remove_invalid_values", "replace scores that are not finite"},
      {"exponential_decay_length_penalty",
       "START,FACTOR: the end becomes more likely after START tokens"},
      {"suppress_tokens", "ids that are never generated"},
      {"begin_suppress_tokens", "ids that do not begin an answer"},
      {"sequence_bias",
       "IDS=BIAS, ids separated by commas: BIAS is added to the score of the last id after the "
       "others; may be given several times"},
      {"num_return_sequences", "number of answers per question"},
      {"pad_token_id", "id that fills up answers that end early"},
      {"bos_token_id", "id that begins an empty prompt"},
      {"eos_token_id", "ids that end an answer"},
      {"decoder_start_token_id", "first id of the decoder (encoder-decoder models)"},
      {"seed", "seed of the random numbers in sampling"},
  };
  return help;
}

std::vector<std::int64_t> parse_ids(const std::string& text) {
  std::vector<std::int64_t> ids;
  for (const std::string& part : CLI::detail::split(text, ',')) {
    std::int64_t id = 0;
    if (!CLI::detail::lexical_cast(part, id)) throw CLI::ConversionError(text, "ids");
    ids.push_back(id);
  }
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
void add_flag(CLI::App& app, const std::string& flag, std::optional<Number>& field,
              const std::string& help) {
  app.add_option_function<Number>(
      flag, [&field](const Number& value) { field = value; },
      field ? with_default(help, *field) : help);
}

void add_flag(CLI::App& app, const std::string& flag, std::optional<bool>& field,
              const std::string& help) {
  app.add_flag_callback(
      flag, [&field] { field = true; }, help);
}

void add_flag(CLI::App& app, const std::string& flag, std::optional<EarlyStopping>& field,
              const std::string& help) {
  app.add_option_function<std::string>(
         flag,
         [&field](const std::string& value) {
           field = value == "never" ? EarlyStopping("never") : EarlyStopping(value == "true");
         },
         help)
      ->check(CLI::IsMember({"true", "false", "never"}));
}

void add_flag(CLI::App& app, const std::string& flag, std::optional<ExponentialDecay>& field,
              const std::string& help) {
  app.add_option_function<std::string>(
      flag,
      [&field](const std::string& text) {
        const auto parts = CLI::detail::split(text, ',');
        if (parts.size() != 2) throw CLI::ConversionError(text, "START,FACTOR");
        field =
            ExponentialDecay{static_cast<Index>(parse_number(parts[0])), parse_number(parts[1])};
      },
      help);
}

void add_flag(CLI::App& app, const std::string& flag, TokenIds& field, const std::string& help) {
  app.add_option_function<std::string>(
      flag, [&field](const std::string& text) { field = parse_ids(text); }, help);
}

void add_flag(CLI::App& app, const std::string& flag, std::vector<std::int64_t>& field,
              const std::string& help) {
  app.add_option_function<std::string>(
      flag, [&field](const std::string& text) { field = parse_ids(text); }, help);
}

void add_flag(CLI::App& app, const std::string& flag, std::vector<std::string>& field,
              const std::string& help) {
  app.add_option(flag, field, help)->allow_extra_args(false);
}

void add_flag(CLI::App& app, const std::string& flag, std::vector<std::vector<std::int64_t>>& field,
              const std::string& help) {
  app.add_option_function<std::vector<std::string>>(
         flag,
         [&field](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) field.push_back(parse_ids(text));
         },
         help)
      ->allow_extra_args(false);
}

void add_flag(CLI::App& app, const std::string& flag, std::vector<SequenceBias>& field,
              const std::string& help) {
  app.add_option_function<std::vector<std::string>>(
         flag,
         [&field](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) {
             const auto parts = CLI::detail::split(text, '=');
             if (parts.size() != 2) throw CLI::ConversionError(text, "IDS=BIAS");
             field.push_back({parse_ids(parts[0]), parse_number(parts[1])});
           }
         },
         help)
      ->allow_extra_args(false);
}

}  // namespace

void add_generation_flags(CLI::App& app, GenerationConfig& config) {
  instructblip::visit_fields([&](const char* name, auto member) {
    const auto help = help_of_fields().find(name);
    if (help == help_of_fields().end()) return;
    std::string flag = "--" + help->first;
    std::replace(flag.begin(), flag.end(), '_', '-');
    add_flag(app, flag, config.*member, help->second);
  });
  // A program's default for max_new_tokens would override the user's --max-length.
  app.parse_complete_callback([&app, &config] {
    if (app.count("--max-length") > 0 && app.count("--max-new-tokens") == 0) {
      config.max_new_tokens.reset();
    }
  });
}

}  // namespace examples
