// BatchFeature: what a processor makes and a model takes.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "instructblip/core/tensor.h"

namespace instructblip {

/// A plain set of named tensors, as the reference's class of the same name. A tensor that was not
/// made is empty. B samples of k images each (k is 1 unless several images were given for a text).
struct BatchFeature {
  Tensor qformer_input_ids;       // [B * k, Q-Former text] int64
  Tensor qformer_attention_mask;  // [B * k, Q-Former text] int64, 0 where padded
  Tensor input_ids;               // [B, k * num_query_tokens + text] int64
  Tensor attention_mask;          // [B, k * num_query_tokens + text] int64, 0 where padded
  Tensor pixel_values;            // [B * k, 3, height, width] float32

  /// Those that are not empty, in the reference's order.
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
