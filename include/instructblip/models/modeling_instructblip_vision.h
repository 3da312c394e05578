// The vision tower: a ViT (EVA-CLIP g/14 in the published checkpoints).
// "InstructBLIP: Towards General-purpose Vision-Language Models with Instruction Tuning",
// https://arxiv.org/abs/2305.06500. Mirrors the first part of transformers'
// models/instructblip/modeling_instructblip.py; the original code is LAVIS' models/eva_vit.py.
//
// It differs from CLIP's vision tower in two ways. Queries, keys and values come from one linear
// layer. The norm after the encoder is applied to all positions, and once more to the class
// position for pooler_output.
//
// Layers take ragged rows [rows, hidden_size]: for each image its 1 + patches positions.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "instructblip/configuration/configuration_instructblip.h"
#include "instructblip/core/error.h"
#include "instructblip/layers/activation.h"
#include "instructblip/layers/attention.h"
#include "instructblip/layers/float_copy.h"
#include "instructblip/layers/interpolate.h"
#include "instructblip/layers/linear.h"
#include "instructblip/layers/normalization.h"
#include "instructblip/layers/padded_batch.h"
#include "instructblip/layers/prepare.h"
#include "instructblip/layers/state_recorder.h"
#include "instructblip/models/loading.h"
#include "instructblip/models/modeling_outputs.h"

namespace instructblip {

/// Options of InstructBlipVisionModel::forward.
struct VisionForwardOptions {
  /// Interpolate the position table, so that images may have any size, not only that of training.
  bool interpolate_pos_encoding = false;
  bool output_hidden_states = false;
  bool output_attentions = false;
};

/// Embeds the class position and the patches of each image, and adds position embeddings.
class InstructBlipVisionEmbeddings {
 public:
  InstructBlipVisionEmbeddings(const Weights& weights, const InstructBlipVisionConfig& config)
      : embed_dim_(config.hidden_size),
        image_size_(config.image_size),
        patch_size_(config.patch_size),
        grid_(config.image_size / config.patch_size),
        class_embedding_(float_copy(weights["class_embedding"].get({1, 1, embed_dim_}))),
        patch_bias_(float_copy(weights["patch_embedding"]["bias"].get({embed_dim_}))),
        position_embedding_(
            float_copy(weights["position_embedding"].get({1, 1 + grid_ * grid_, embed_dim_}))) {
    const SharedTensor filters =
        weights["patch_embedding"]["weight"].get({embed_dim_, 3, patch_size_, patch_size_});
    const TensorView matrix(filters.data, filters.dtype,
                            {embed_dim_, 3 * patch_size_ * patch_size_});
    patch_embedding_ =
        PreparedMatrix::prepare(SharedTensor(matrix, filters.owner), prepare_policy(weights));
  }

  /// The position table [1 + patches, hidden_size] for images of this size in pixels. The patches'
  /// part is resized bicubically; the class position is unchanged.
  Tensor interpolate_pos_encoding(Index height, Index width) const {
    if (height == width && height / patch_size_ == grid_) {
      return position_embedding_.reshaped({1 + grid_ * grid_, embed_dim_});
    }
    const float* class_position = position_embedding_.data<float>();
    const TensorView patch_positions(class_position + embed_dim_, DType::Float32,
                                     {grid_, grid_, embed_dim_});
    const Tensor interpolated =
        interpolate_bicubic(patch_positions, height / patch_size_, width / patch_size_);
    Tensor positions(DType::Float32, {1 + interpolated.size() / embed_dim_, embed_dim_});
    float* patches = std::copy_n(class_position, embed_dim_, positions.data<float>());
    std::copy_n(interpolated.data<float>(), interpolated.size(), patches);
    return positions;
  }

  /// pixel_values [batch, 3, height, width] -> [batch * (1 + patches), hidden_size]. Pixels right
  /// of and below the last whole patch are ignored. Throws InputError if the shape is wrong or,
  /// unless the position table is interpolated, if the number of patches differs from the table's.
  Matrix operator()(const TensorView& pixel_values, bool interpolate) const {
    check(pixel_values, interpolate);
    const Tensor pixels = Tensor::copy_of(pixel_values).to(DType::Float32);
    const Index batch = pixels.dim(0), height = pixels.dim(2), width = pixels.dim(3);
    const Matrix positions = Matrix::from(interpolate ? interpolate_pos_encoding(height, width)
                                                      : position_embedding_.view());
    const Index length = positions.rows();
    const MatrixView class_position = positions.view().middle_rows(0, 1);
    const MatrixView patch_positions = positions.view().middle_rows(1, length - 1);

    Matrix embeddings(batch * length, embed_dim_);
    for (Index b = 0; b < batch; ++b) {
      const MutableMatrixView class_embeds = embeddings.view().middle_rows(b * length, 1);
      std::copy_n(class_embedding_.data<float>(), embed_dim_, class_embeds.row(0));
      add_rows(class_position, class_embeds);

      const Matrix image = patches(pixels.data<float>() + b * 3 * height * width, height, width);
      matmul(image, patch_embedding_, embeddings.view().middle_rows(b * length + 1, length - 1),
             {.bias = patch_bias_.data<float>(), .residual = patch_positions});
    }
    return embeddings;
  }

 private:
  void check(const TensorView& pixel_values, bool interpolate) const {
    if (pixel_values.rank() != 4 || pixel_values.dim(0) < 1 || pixel_values.dim(1) != 3 ||
        !is_floating_point(pixel_values.dtype)) {
      throw InputError("pixel_values has type " + std::string(name_of(pixel_values.dtype)) +
                       " and shape " + to_string(pixel_values.shape) +
                       ", expected floating-point [batch, 3, height, width]");
    }
    const Index height = pixel_values.dim(2), width = pixel_values.dim(3);
    const Index found = (height / patch_size_) * (width / patch_size_);
    const std::string size = "pixel_values holds images of " + std::to_string(height) + " x " +
                             std::to_string(width) + " pixels, expected ";
    if (found < 1) {
      throw InputError(size + "at least one patch of " + std::to_string(patch_size_) + " x " +
                       std::to_string(patch_size_));
    }
    if (!interpolate && found != grid_ * grid_) {
      const std::string side = std::to_string(image_size_);
      throw InputError(size + side + " x " + side + " (" + std::to_string(grid_ * grid_) +
                       " patches, found " + std::to_string(found) +
                       "); resize the image, or set interpolate_pos_encoding");
    }
  }

  /// One image [3, height, width] -> its patches [patches, 3 * patch_size * patch_size].
  Matrix patches(const float* pixels, Index height, Index width) const {
    const Index rows = height / patch_size_, cols = width / patch_size_;
    Matrix result(rows * cols, 3 * patch_size_ * patch_size_);
    for (Index r = 0; r < result.rows(); ++r) {
      float* out = result.row(r);
      const Index top = r / cols * patch_size_, left = r % cols * patch_size_;
      for (Index channel = 0; channel < 3; ++channel) {
        for (Index y = 0; y < patch_size_; ++y) {
          const float* from = pixels + (channel * height + top + y) * width + left;
          out = std::copy_n(from, patch_size_, out);
        }
      }
    }
    return result;
  }

  Index embed_dim_, image_size_, patch_size_;
  Index grid_;  // patches per side of an image of the configured size
  Tensor class_embedding_;
  PreparedMatrix patch_embedding_;  // a convolution with stride = kernel size, so a matrix product
  Tensor patch_bias_;
  Tensor position_embedding_;  // [1, 1 + grid * grid, hidden_size]
};

/// Multi-head self-attention; each position attends to all positions of its image.
class InstructBlipAttention {
 public:
  InstructBlipAttention(const Weights& weights, const InstructBlipVisionConfig& config)
      : embed_dim_(config.hidden_size),
        shape_{
            .num_heads = config.num_attention_heads,
            .num_key_value_heads = config.num_attention_heads,
            .head_dim = embed_dim_ / config.num_attention_heads,
            .scale = 1.0f / std::sqrt(static_cast<float>(embed_dim_ / config.num_attention_heads)),
            .dtype = weights.dtype(),
            .activations = weights.activations()},
        qkv_(weights["qkv"], embed_dim_, 3 * embed_dim_, config.qkv_bias),
        projection_(weights["projection"], embed_dim_, embed_dim_) {}

  /// Adds projection(attention(hidden_states)) to residual; both are [rows, hidden_size].
  void operator()(MatrixView hidden_states, const RowTable& rows, MutableMatrixView residual,
                  StateRecorder& states) const {
    const Matrix mixed_qkv = qkv_(hidden_states);
    const MatrixView query_states = mixed_qkv.view().middle_cols(0, embed_dim_);
    const MatrixView key_states = mixed_qkv.view().middle_cols(embed_dim_, embed_dim_);
    const MatrixView value_states = mixed_qkv.view().middle_cols(2 * embed_dim_, embed_dim_);

    std::vector<AttentionSequence> sequences = self_attention(key_states, value_states, rows);
    states.add_attentions(sequences, shape_.num_heads);
    projection_(attend(query_states, shape_, sequences), residual, {.residual = residual});
  }

 private:
  Index embed_dim_;
  AttentionShape shape_;
  Linear qkv_;  // [rows, hidden_size] -> queries, keys, values side by side
  Linear projection_;
};

/// The feed-forward block: fc2(act(fc1(x))).
class InstructBlipMLP {
 public:
  InstructBlipMLP(const Weights& weights, const InstructBlipVisionConfig& config)
      : activation_fn_(activation_from_name(config.hidden_act)),
        fc1_(weights["fc1"], config.hidden_size, config.intermediate_size),
        fc2_(weights["fc2"], config.intermediate_size, config.hidden_size) {}

  /// Adds the result for hidden_states [rows, hidden_size] to residual.
  void operator()(MatrixView hidden_states, MutableMatrixView residual) const {
    fc2_(fc1_(hidden_states, {.activation = activation_fn_}), residual, {.residual = residual});
  }

 private:
  Activation activation_fn_;
  Linear fc1_, fc2_;
};

/// An encoder layer, with norms before attention and feed-forward.
class InstructBlipEncoderLayer {
 public:
  InstructBlipEncoderLayer(const Weights& weights, const InstructBlipVisionConfig& config)
      : self_attn_(weights["self_attn"], config),
        layer_norm1_(weights["layer_norm1"], config.hidden_size, config.layer_norm_eps),
        mlp_(weights["mlp"], config),
        layer_norm2_(weights["layer_norm2"], config.hidden_size, config.layer_norm_eps) {}

  /// Updates hidden_states [rows, hidden_size] in place.
  void operator()(MutableMatrixView hidden_states, const RowTable& rows,
                  StateRecorder& states) const {
    self_attn_(layer_norm1_(hidden_states), rows, hidden_states, states);
    mlp_(layer_norm2_(hidden_states), hidden_states);
  }

 private:
  InstructBlipAttention self_attn_;
  LayerNorm layer_norm1_;
  InstructBlipMLP mlp_;
  LayerNorm layer_norm2_;
};

/// The encoder layers, applied one after the other.
class InstructBlipEncoder {
 public:
  InstructBlipEncoder(const Weights& weights, const InstructBlipVisionConfig& config) {
    for (Index i = 0; i < config.num_hidden_layers; ++i) {
      layers_.emplace_back(weights["layers"][i], config);
    }
  }

  /// Updates hidden_states [rows, hidden_size] in place.
  void operator()(Matrix& hidden_states, const RowTable& rows, StateRecorder& states) const {
    states.add_hidden_states(hidden_states);
    for (const InstructBlipEncoderLayer& encoder_layer : layers_) {
      encoder_layer(hidden_states, rows, states);
      states.add_hidden_states(hidden_states);
    }
  }

 private:
  std::vector<InstructBlipEncoderLayer> layers_;
};

/// The vision tower. Immutable; safe to call from several threads.
class InstructBlipVisionModel {
 public:
  using Config = InstructBlipVisionConfig;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid.
  InstructBlipVisionModel(const Weights& weights, const InstructBlipVisionConfig& config)
      : config_(validated(config)),
        embeddings_(weights["embeddings"].packed(), config),
        encoder_(weights["encoder"].packed().quantized(weights.recipe().vision_model), config),
        post_layernorm_(weights["post_layernorm"], config.hidden_size, config.layer_norm_eps) {}
  /// Loads the vision tower's own folder, or its part of an InstructBLIP checkpoint. Throws
  /// ConfigError or CheckpointError.
  static InstructBlipVisionModel from_pretrained(const std::filesystem::path& path,
                                                 const LoadOptions& options = {}) {
    return detail::load_model<InstructBlipVisionModel>(path, options, {"", "vision_model"},
                                                       "embeddings.class_embedding");
  }

  const InstructBlipVisionConfig& config() const { return config_; }

  /// pixel_values: floating-point [batch, 3, height, width], normalised as by BlipImageProcessor.
  /// An image gives the same bits alone and in any batch. Throws InputError if the type or the
  /// shape is wrong.
  BaseModelOutputWithPooling forward(const TensorView& pixel_values,
                                     const VisionForwardOptions& options = {}) const {
    Matrix hidden_states = embeddings_(pixel_values, options.interpolate_pos_encoding);
    const Index images = pixel_values.dim(0), length = hidden_states.rows() / images;
    const PaddedBatch batch(images, length);  // without padding
    StateRecorder states;
    states.capture = {options.output_hidden_states, options.output_attentions};
    encoder_(hidden_states, batch.rows, states);
    post_layernorm_(hidden_states, hidden_states);

    BaseModelOutputWithPooling output;
    output.last_hidden_state = batch.scatter(hidden_states);
    output.pooler_output = pooled(hidden_states, batch.rows);
    output.hidden_states = batch.scatter(states.hidden_states);
    output.attentions = batch.scatter_attentions(states.attentions, batch);
    return output;
  }

 private:
  /// Applies the norm once more to the class position of each image.
  Tensor pooled(MatrixView last_hidden_state, const RowTable& rows) const {
    std::vector<Index> class_rows(rows.offsets.begin(), rows.offsets.end() - 1);
    Matrix pooled_output(rows.sequences(), config_.hidden_size);
    gather_rows(last_hidden_state, class_rows, pooled_output);
    post_layernorm_(pooled_output, pooled_output);
    return pooled_output.to_tensor();
  }

  InstructBlipVisionConfig config_;
  InstructBlipVisionEmbeddings embeddings_;
  InstructBlipEncoder encoder_;
  LayerNorm post_layernorm_;
};

}  // namespace instructblip
