#include "generation/drafts.h"

#include <algorithm>
#include <string>
#include <utility>

#include "generation/decoding.h"
#include "instructblip/core/error.h"
#include "instructblip/core/index.h"
#include "instructblip/generation/sampling.h"

namespace instructblip::detail {
namespace {

using Ids = std::vector<std::int64_t>;

// What followed the row's last ids where they occurred before (PromptLookupCandidateGenerator of
// transformers/generation/candidate_generator.py). An encoder's prompt is searched, too.
class PromptLookup : public Drafter {
 public:
  PromptLookup(const ResolvedConfig& resolved, const Prompt& prompt, Index vocab_size)
      : most_(*resolved.config.prompt_lookup_num_tokens),
        ngram_size_(resolved.config.max_matching_ngram_size.value_or(2)),
        vocab_size_(vocab_size),
        eos_(resolved.eos_token_id),
        prompt_(prompt) {}

  std::vector<Ids> draft(std::span<const DraftRow> rows) override {
    std::vector<Ids> drafts;
    for (const DraftRow& row : rows) {
      Ids ids = prompt_.encoder_ids_of(row.prompt);
      ids.insert(ids.end(), row.ids.begin(), row.ids.end());
      drafts.push_back(lookup(ids, std::min(most_, row.most)));
    }
    return drafts;
  }

 private:
  Ids lookup(const Ids& ids, Index most) const {
    const auto size = std::ssize(ids);
    for (Index n = std::min(ngram_size_, size - 1); n > 0; --n) {
      const auto ngram = ids.end() - n;
      const auto found = std::search(ids.begin(), ids.end() - 1, ngram, ids.end());
      if (found == ids.end() - 1) continue;
      const auto begin = found + n;
      return usable({begin, begin + std::min<Index>(most, ids.end() - begin)});
    }
    return {};
  }

  // The ids before the first one that ends a row or that the model does not have.
  Ids usable(Ids draft) const {
    const auto ends = [&](std::int64_t id) {
      return id < 0 || id >= vocab_size_ || std::find(eos_.begin(), eos_.end(), id) != eos_.end();
    };
    draft.erase(std::find_if(draft.begin(), draft.end(), ends), draft.end());
    return draft;
  }

  Index most_, ngram_size_, vocab_size_;
  const Ids& eos_;
  const Prompt& prompt_;
};

// The most probable ids of a smaller model (AssistedCandidateGenerator).
class Assistant : public Drafter {
 public:
  Assistant(const LanguageModel& model, const ResolvedConfig& resolved, const Prompt& prompt,
            const EmbeddedBatch* own_prompt)
      : model_(model),
        most_(resolved.config.num_assistant_tokens.value_or(20)),
        threshold_(resolved.config.assistant_confidence_threshold.value_or(0.4)),
        prompt_length_(prompt.length()) {
    EmbeddedBatch embedded;
    if (own_prompt == nullptr) embedded = embed(prompt);
    start(own_prompt == nullptr ? embedded : *own_prompt, prompt, resolved.expand_size());
  }

  std::vector<Ids> draft(std::span<const DraftRow> rows) override {
    std::vector<Ids> drafts(rows.size());
    std::vector<Ids> next(to_size(state_->sequences()));  // fed in the next pass
    std::vector<Index> most;
    for (const DraftRow& row : rows) {
      most.push_back(std::min({most_, row.most, room(row)}));
      if (most.back() > 0) at(next, row.sequence) = catch_up(row);
    }
    while (std::any_of(next.begin(), next.end(), [](const Ids& ids) { return !ids.empty(); })) {
      const Tensor logits = feed(next);
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const Index s = rows[i].sequence;
        if (at(next, s).empty()) continue;
        const auto scores = row_of(logits, s);
        const Index best = argmax(scores);
        drafts[i].push_back(best);
        const bool full = std::ssize(drafts[i]) >= most[i];
        const bool ends = full || softmax(scores)[to_size(best)] < threshold_;
        at(next, s) = ends ? Ids{} : Ids{best};
      }
    }
    return drafts;
  }

  void reorder(std::span<const Index> sources) override {
    state_->reorder(sources);
    fed_ = selected(fed_, sources);
    positions_ = selected(positions_, sources);
  }

 private:
  EmbeddedBatch embed(const Prompt& prompt) const {
    const Tensor& ids = prompt.is_encoder_decoder ? prompt.encoder_ids : prompt.ids;
    if (ids.dim(-1) != prompt.batch.length) {
      throw InputError(
          "`assistant_model` needs `assistant_prompt`, or `input_ids` of the whole prompt");
    }
    return {prompt.batch, model_.embed_tokens(prompt.batch.gather_ids(ids))};
  }

  void start(const EmbeddedBatch& embedded, const Prompt& prompt, Index copies) {
    PaddedBatch batch = embedded.batch;
    if (batch.batch != prompt.size()) {
      throw InputError("`assistant_prompt` holds " + std::to_string(batch.batch) +
                       " prompts, expected " + std::to_string(prompt.size()));
    }
    if (!prompt.is_encoder_decoder) batch.use_compact_positions();
    state_ = model_.start(embedded.embeddings, batch.rows);
    if (prompt.is_encoder_decoder) {
      const RowTable rows = prompt.decoder_rows();
      model_.decode(*state_, model_.embed_decoder_tokens(prompt.ids.span<std::int64_t>()), rows,
                    LogitsFor::None);
      positions_ = rows.next_positions();
    } else {
      model_.decode(*state_, embedded.embeddings, batch.rows, LogitsFor::None);
      positions_ = batch.rows.next_positions();
    }
    fed_.resize(to_size(prompt.size()));
    if (copies > 1) reorder(prompt.copied(copies));
  }

  // Ids that its position table has room for after the row.
  Index room(const DraftRow& row) const {
    const auto positions = model_.traits().max_position_embeddings;
    const Index next = at(positions_, row.sequence) + std::ssize(row.ids) - prompt_length_;
    return positions ? std::max<Index>(0, *positions - next) : row.most;
  }

  // Takes back what the row does not have and returns what it has beyond that.
  Ids catch_up(const DraftRow& row) {
    const auto answer = row.ids.subspan(to_size(prompt_length_));
    Ids& fed = at(fed_, row.sequence);
    const auto common = std::mismatch(fed.begin(), fed.end(), answer.begin(), answer.end()).first;
    const Index surplus = fed.end() - common;
    state_->truncate(row.sequence, state_->length(row.sequence) - surplus);
    fed.erase(common, fed.end());
    return {answer.begin() + std::ssize(fed), answer.end()};
  }

  Tensor feed(const std::vector<Ids>& next) {
    RowTable rows;
    Ids all;
    for (std::size_t s = 0; s < next.size(); ++s) {
      rows.append(std::ssize(next[s]), positions_[s] + std::ssize(fed_[s]));
      all.insert(all.end(), next[s].begin(), next[s].end());
      fed_[s].insert(fed_[s].end(), next[s].begin(), next[s].end());
    }
    return model_.decode(*state_, model_.embed_decoder_tokens(all), rows).logits;
  }

  const LanguageModel& model_;
  Index most_;
  double threshold_;
  Index prompt_length_;
  std::unique_ptr<DecoderState> state_;
  std::vector<Ids> fed_;          // of each sequence, after the prompt
  std::vector<Index> positions_;  // of each sequence: where its answer begins
};

void check_assistant(const LanguageModelTraits& assistant, const LanguageModelTraits& model) {
  if (assistant.is_encoder_decoder == model.is_encoder_decoder &&
      assistant.vocab_size == model.vocab_size) {
    return;
  }
  const auto describe = [](const LanguageModelTraits& traits) {
    return std::string(traits.is_encoder_decoder ? "an encoder-decoder" : "decoder-only") +
           " with a vocabulary of " + std::to_string(traits.vocab_size);
  };
  throw InputError("`assistant_model` is " + describe(assistant) + ", but the model is " +
                   describe(model) + "; choose a smaller model of the same kind and vocabulary");
}

}  // namespace

std::unique_ptr<Drafter> make_drafter(const LanguageModel& model, const ResolvedConfig& resolved,
                                      const Prompt& prompt, const GenerateCallbacks& callbacks) {
  if (resolved.records_states() || resolved.num_beams > 1) return nullptr;
  if (resolved.config.prompt_lookup_num_tokens) {
    return std::make_unique<PromptLookup>(resolved, prompt, model.traits().vocab_size);
  }
  if (callbacks.assistant_model == nullptr) return nullptr;
  check_assistant(callbacks.assistant_model->traits(), model.traits());
  return std::make_unique<Assistant>(*callbacks.assistant_model, resolved, prompt,
                                     callbacks.assistant_prompt);
}

}  // namespace instructblip::detail
