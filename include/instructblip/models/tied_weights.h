// Weights that two places of a model share, and that a checkpoint may hold once or twice.
#pragma once

#include <initializer_list>

#include "instructblip/checkpoint/weights.h"
#include "instructblip/core/log.h"

namespace instructblip {

/// The first of `places` that holds a tensor `weight`; the first of all if none does, so that it is
/// named as missing.
inline Weights first_with_weight(std::initializer_list<Weights> places) {
  for (const Weights& place : places) {
    if (place["weight"].exists()) return place;
  }
  return *places.begin();
}

/// Whether `copy` takes its `weight` from `source`: the checkpoint holds no such tensor for it, or
/// the same elements. One that differs is the model's own, as in the reference.
inline bool is_tied(const Weights& copy, const Weights& source, const Shape& shape) {
  if (copy.name() == source.name()) return true;
  const std::optional<SharedTensor> found = copy["weight"].find(shape);
  if (!found || found->data == nullptr) return !copy["weight"].exists();
  const std::optional<SharedTensor> original = source["weight"].find(shape);
  return !original || original->data == nullptr || same_elements(*found, *original);
}

/// Says that a tensor which should be a copy is not.
inline void warn_untied(const Weights& copy, const Weights& source) {
  log_warning(copy.where() + ": " + copy.name() + ".weight differs from " + source.name() +
              ".weight, to which the configuration ties it; it is used as it is. Check that the "
              "file is meant so (\"tie_word_embeddings\": false in config.json)");
}

}  // namespace instructblip
