// Weights that two places of a model share, and that a checkpoint may hold once or twice.
#pragma once

#include <initializer_list>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/core/log.h"
#include "instructblip/layers/embedding.h"
#include "instructblip/layers/linear.h"

namespace instructblip {

/// The first of `places` that holds a tensor `weight`; the first of all if none does, so that it is
/// named as missing.
inline Weights first_with_weight(std::initializer_list<Weights> places) {
  for (const Weights& place : places) {
    if (place["weight"].exists()) return place;
  }
  return *places.begin();
}

/// Whether `copy` takes its `weight` [rows, cols] from `source`: the checkpoint holds no such
/// tensor for it, or the same elements. A different one is the model's own, with a warning, as the
/// reference does.
inline bool is_tied(const Weights& copy, const Weights& source, const Shape& shape) {
  if (copy.name() == source.name()) return true;
  const std::optional<SharedTensor> found = copy["weight"].find(shape);
  if (!found || found->data == nullptr) return !copy["weight"].exists();
  const std::optional<SharedTensor> original = source["weight"].find(shape);
  if (!original || original->data == nullptr || same_elements(*found, *original)) return true;
  log_warning(copy.where() + ": " + copy.name() + ".weight differs from " + source.name() +
              ".weight, to which the configuration ties it; it is used as "
              "it is. \"tie_word_embeddings\": false in config.json says so");
  return false;
}

/// A head without bias, `shape` [vocab_size, width]: the tensor of `head`, or the table that
/// `embed_tokens` read from `embedding` where the two are tied.
inline Linear output_head(const Weights& head, const Weights& embedding,
                          const Embedding& embed_tokens, bool tie_word_embeddings,
                          const Shape& shape) {
  if (tie_word_embeddings && is_tied(head, embedding, shape)) {
    return Linear(embed_tokens.weight(), head.name());
  }
  return Linear(head, shape[1], shape[0], false);
}

}  // namespace instructblip
