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

// One line of --help a flag; a field without one is not offered on the command line. What a program
// sets itself takes the place of the default that stands here.
const std::map<std::string, std::string>& help_of_fields() {
  static const std::map<std::string, std::string> help = {
      {"max_length", "longest row in tokens, the prompt included"},
      {"max_new_tokens", "most tokens of an answer (default 20)"},
      {"min_length", "shortest row in tokens, the prompt included"},
      {"min_new_tokens", "fewest tokens of an answer"},
      {"early_stopping", "beam search ends: true, false or never"},
      {"max_time", "seconds after which an answer ends"},
      {"stop_strings", "an answer ends with this text; may be given several times"},
      {"do_sample", "draw tokens at random instead of taking the best"},
      {"num_beams", "beams; 1 is greedy (default 1)"},
      {"temperature", "sampling: below 1 sharpens, above 1 flattens"},
      {"top_k", "sampling: keep the k best tokens (default 50)"},
      {"top_p", "sampling: keep the best tokens whose probabilities add up to this"},
      {"min_p", "sampling: keep tokens above this share of the best one's probability"},
      {"top_h", "sampling: keep tokens within this share of the entropy"},
      {"typical_p", "sampling: keep the most typical tokens that add up to this"},
      {"epsilon_cutoff", "sampling: keep tokens above this probability"},
      {"eta_cutoff", "sampling: as epsilon_cutoff, adapted to the entropy"},
      {"repetition_penalty", "above 1: tokens of the row become less likely"},
      {"length_penalty", "beams: above 0 favours long answers, below 0 short ones"},
      {"no_repeat_ngram_size", "no run of so many tokens appears twice"},
      {"bad_words_ids",
       "ids, separated by commas, that must not follow one another; may be given several times"},
      {"renormalize_logits", "normalise scores after all processors"},
      {"forced_bos_token_id", "first token of an answer (encoder-decoders)"},
      {"forced_eos_token_id", "tokens forced at the last place"},
      {"remove_invalid_values", "replace scores that are not finite"},
      {"exponential_decay_length_penalty",
       "START,FACTOR: the end becomes more likely from START on"},
      {"suppress_tokens", "ids that never appear"},
      {"begin_suppress_tokens", "ids that do not begin an answer"},
      {"sequence_bias",
       "IDS=BIAS, ids separated by commas: added to the score of the last; may be given several "
       "times"},
      {"num_return_sequences", "answers to each question"},
      {"pad_token_id", "id that fills rows which ended early"},
      {"bos_token_id", "id that begins a row without a prompt"},
      {"eos_token_id", "ids that end an answer"},
      {"decoder_start_token_id", "first id of the decoder (encoder-decoders)"},
      {"seed", "of the random numbers in sampling"},
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

// `help` with `value` in the place of the default that it names.
template <class Number>
std::string with_default(const std::string& help, Number value) {
  std::ostringstream text;
  text << help.substr(0, help.find(" (default")) << " (default " << value << ")";
  return text.str();
}

// One overload a type of field: how its flag is written.
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
  // A program's own max_new_tokens would win over the user's --max-length.
  app.parse_complete_callback([&app, &config] {
    if (app.count("--max-length") > 0 && app.count("--max-new-tokens") == 0) {
      config.max_new_tokens.reset();
    }
  });
}

}  // namespace examples
