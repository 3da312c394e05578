// A language model without weights. Its logits are a hash of everything that a sequence was fed, so
// that a wrong id, position, order or fork changes them. tests/reference/table_model.py is the same
// model as a PreTrainedModel, which the reference's own `generate` runs.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "instructblip/core/error.h"
#include "instructblip/generation/language_model.h"

namespace instructblip::testing {

inline std::uint32_t mix(std::uint32_t x) {
  x ^= x >> 15;
  x *= 0x85EBCA6Bu;
  x ^= x >> 13;
  x *= 0xC2B2AE35u;
  return x ^ (x >> 16);
}

/// Rows of equal length as one tensor.
inline Tensor ids(const std::vector<std::vector<std::int64_t>>& rows) {
  std::vector<std::int64_t> all;
  for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
  return Tensor(all, {static_cast<Index>(rows.size()), static_cast<Index>(rows[0].size())});
}

/// A vocabulary of 24 ids: padding 0, BOS 1, EOS 2.
inline LanguageModelTraits decoder_only() {
  LanguageModelTraits traits;
  traits.vocab_size = 24;
  traits.bos_token_id = 1;
  traits.eos_token_id = {2};
  traits.pad_token_id = 0;
  return traits;
}

/// The same vocabulary; answers begin with id 0.
inline LanguageModelTraits encoder_decoder() {
  LanguageModelTraits traits = decoder_only();
  traits.is_encoder_decoder = true;
  traits.decoder_start_token_id = 0;
  return traits;
}

struct TableState : DecoderState {
  std::vector<std::vector<std::uint32_t>> hashes;  // one per position; [0] is before the first
  Tensor encoder_output;

  Index sequences() const override { return static_cast<Index>(hashes.size()); }
  Index length(Index s) const override {
    return static_cast<Index>(hashes[static_cast<std::size_t>(s)].size()) - 1;
  }
  void reorder(std::span<const Index> sources) override {
    std::vector<std::vector<std::uint32_t>> next;
    for (const Index s : sources) next.push_back(hashes.at(static_cast<std::size_t>(s)));
    hashes = std::move(next);
  }
  void truncate(Index s, Index length) override {
    hashes.at(static_cast<std::size_t>(s)).resize(static_cast<std::size_t>(length) + 1);
  }
};

class TableLanguageModel : public LanguageModel {
 public:
  TableLanguageModel(LanguageModelTraits traits, std::uint32_t seed, float scale = 8.0f,
                     float eos_bonus = 0.0f)
      : traits_(std::move(traits)), seed_(seed), scale_(scale), eos_bonus_(eos_bonus) {
    traits_.embedding_size = 2;
    bonus_ids = traits_.eos_token_id;
  }

  /// Ids whose logits get the bonus; the eos ids by default.
  std::vector<std::int64_t> bonus_ids;
  mutable std::vector<Index> rows_per_call;  // of each decode
  mutable std::vector<Index> sequences_per_call;
  /// Called on the logits of each step before they are returned.
  std::function<void(Tensor&)> spoil;

  const LanguageModelTraits& traits() const override { return traits_; }

  Matrix embed_tokens(std::span<const std::int64_t> ids) const override {
    Matrix embedded(static_cast<Index>(ids.size()), 2);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0 || ids[i] >= traits_.vocab_size) throw InputError("id outside vocabulary");
      embedded.row(static_cast<Index>(i))[0] = static_cast<float>(ids[i]);
      embedded.row(static_cast<Index>(i))[1] = 1.0f;
    }
    return embedded;
  }

  std::unique_ptr<DecoderState> start(MatrixView prompt, const RowTable& rows,
                                      const ForwardCapture&) const override {
    auto state = std::make_unique<TableState>();
    for (Index s = 0; s < rows.sequences(); ++s) {
      std::uint32_t hash = seed_;
      if (traits_.is_encoder_decoder) {
        for (Index i = 0; i < rows.count(s); ++i) {
          hash = fold(hash, prompt.row(rows.begin(s) + i)[0], i);
        }
      }
      state->hashes.push_back({hash});
    }
    return state;
  }

  DecodeOutput decode(DecoderState& state, MatrixView embeddings, const RowTable& rows,
                      LogitsFor wanted, const ForwardCapture& capture) const override {
    auto& table = static_cast<TableState&>(state);
    if (table.sequences() != rows.sequences()) throw InputError("rows do not fit the state");
    rows_per_call.push_back(rows.rows());
    sequences_per_call.push_back(rows.sequences());
    DecodeOutput output;
    const bool all = wanted == LogitsFor::AllRows;
    output.logits =
        Tensor(DType::Float32, {all ? rows.rows() : rows.sequences(), traits_.vocab_size});
    if (capture.hidden_states)
      output.states.hidden_states.push_back(Tensor(DType::Float32, {rows.rows(), 2}));
    for (Index s = 0; s < rows.sequences(); ++s) {
      auto& hashes = table.hashes[static_cast<std::size_t>(s)];
      for (Index i = 0; i < rows.count(s); ++i) {
        const Index row = rows.begin(s) + i;
        const Index position = rows.positions[static_cast<std::size_t>(row)];
        hashes.push_back(fold(hashes.back(), embeddings.row(row)[0], position));
        if (all) fill_logits(hashes.back(), row, output.logits);
      }
      if (!all) fill_logits(hashes.back(), s, output.logits);
    }
    if (spoil) spoil(output.logits);
    return output;
  }

 private:
  void fill_logits(std::uint32_t hash, Index row, Tensor& all) const {
    float* const logits = all.data<float>() + row * traits_.vocab_size;
    for (Index v = 0; v < traits_.vocab_size; ++v) {
      const std::uint32_t x = mix(hash ^ (static_cast<std::uint32_t>(v) * 0x9E3779B1u));
      logits[v] = (static_cast<float>(x >> 8) * 0x1p-24f - 0.5f) * scale_;
    }
    for (const std::int64_t id : bonus_ids) {
      if (id >= 0 && id < traits_.vocab_size) logits[id] += eos_bonus_;
    }
  }

  static std::uint32_t fold(std::uint32_t hash, float value, Index position) {
    const auto v = static_cast<std::uint32_t>(static_cast<std::int32_t>(std::lround(value * 16)));
    return mix(hash * 1664525u + v * 22695477u + static_cast<std::uint32_t>(position) +
               1013904223u);
  }

  LanguageModelTraits traits_;
  std::uint32_t seed_;
  float scale_, eos_bonus_;
};

}  // namespace instructblip::testing
