// BatchFeature: the output of a processor and the input of a model.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "instructblip/core/tensor.h"

namespace instructblip {

/// A plain set of named tensors, like the class of the same name in transformers. A tensor that was
/// not produced is empty. There are B samples of k images each (k is 1 unless several images were
/// given per text). Of a video's k frames, pixel_values are [B, k, 3, height, width], and the
/// Q-Former's text is [B, Q-Former text].
struct BatchFeature {
  Tensor qformer_input_ids;       // [B * k, Q-Former text] int64
  Tensor qformer_attention_mask;  // [B * k, Q-Former text] int64, 0 where padded
  Tensor input_ids;               // [B, k * num_query_tokens + text] int64
  Tensor attention_mask;          // [B, k * num_query_tokens + text] int64, 0 where padded
  Tensor pixel_values;            // [B * k, 3, height, width] float32

  /// The non-empty tensors, in the order of transformers.
  std::vector<std::pair<std::string_view, const Tensor*>> items() const {
    std::vector<std::pair<std::string_view, const Tensor*>> items;
    const auto add = [&items](std::string_view name, const Tensor& tensor) {
      if (!tensor.empty()) items.emplace_back(name, &tensor);
    };
    add("qformer_input_ids", qformer_input_ids);
    add("qformer_attention_mask", qformer_attention_mask);
    add("input_ids", input_ids);
    add("attention_mask", attention_mask);
    add("pixel_values", pixel_values);
    return items;
  }
};

}  // namespace instructblip
