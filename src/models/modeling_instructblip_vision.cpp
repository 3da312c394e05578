#include "instructblip/models/modeling_instructblip_vision.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "instructblip/core/error.h"
#include "instructblip/layers/activation.h"
#include "instructblip/layers/attention.h"

namespace instructblip {
namespace detail {

/// Where one output position of a bicubic interpolation reads from, and how much of each.
struct CubicTaps {
  std::array<Index, 4> index;
  std::array<float, 4> weight;
};

/// As torch.nn.functional.interpolate(mode="bicubic", align_corners=False) has it.
std::vector<CubicTaps> cubic_taps(Index in, Index out) {
  constexpr float a = -0.75f;
  const auto near = [](float x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
  const auto far = [](float x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
  const float scale = static_cast<float>(in) / static_cast<float>(out);
  std::vector<CubicTaps> taps(static_cast<std::size_t>(out));
  for (Index i = 0; i < out; ++i) {
    const float source = (static_cast<float>(i) + 0.5f) * scale - 0.5f;
    const float floor = std::floor(source);
    const float t = source - floor;
    CubicTaps& tap = taps[static_cast<std::size_t>(i)];
    tap.weight = {far(t + 1), near(t), near(1 - t), far(2 - t)};
    for (Index k = 0; k < 4; ++k) {
      tap.index[static_cast<std::size_t>(k)] =
          std::clamp<Index>(static_cast<Index>(floor) + k - 1, 0, in - 1);
    }
  }
  return taps;
}

}  // namespace detail

InstructBlipVisionEmbeddings::InstructBlipVisionEmbeddings(const Weights& weights,
                                                           const InstructBlipVisionConfig& config)
    : embed_dim_(config.hidden_size),
      patch_size_(config.patch_size),
      image_size_(config.image_size),
      grid_(config.image_size / config.patch_size),
      class_embedding_(float_copy(weights["class_embedding"].get({1, 1, embed_dim_}))),
      patch_bias_(float_copy(weights["patch_embedding"]["bias"].get({embed_dim_}))),
      position_embedding_(
          float_copy(weights["position_embedding"].get({1, 1 + grid_ * grid_, embed_dim_}))) {
  const SharedTensor filters =
      weights["patch_embedding"]["weight"].get({embed_dim_, 3, patch_size_, patch_size_});
  const TensorView matrix(filters.data, filters.dtype, {embed_dim_, 3 * patch_size_ * patch_size_});
  patch_embedding_ =
      PreparedMatrix::prepare(SharedTensor(matrix, filters.owner), {.dtype = weights.dtype()});
}

Tensor InstructBlipVisionEmbeddings::interpolate_pos_encoding(Index height, Index width) const {
  const Index rows = height / patch_size_, cols = width / patch_size_;
  if (rows * cols == grid_ * grid_ && height == width) {
    return position_embedding_.reshaped({1 + grid_ * grid_, embed_dim_});
  }
  const float* table = position_embedding_.data<float>();
  Tensor result(DType::Float32, {1 + rows * cols, embed_dim_});
  float* out = result.data<float>();
  out = std::copy_n(table, embed_dim_, out);
  const auto vertical = detail::cubic_taps(grid_, rows);
  const auto horizontal = detail::cubic_taps(grid_, cols);
  for (const detail::CubicTaps& y : vertical) {
    for (const detail::CubicTaps& x : horizontal) {
      for (std::size_t j = 0; j < 4; ++j) {
        for (std::size_t i = 0; i < 4; ++i) {
          const float weight = y.weight[j] * x.weight[i];
          const float* from = table + (1 + y.index[j] * grid_ + x.index[i]) * embed_dim_;
          for (Index d = 0; d < embed_dim_; ++d) out[d] += weight * from[d];
        }
      }
      out += embed_dim_;
    }
  }
  return result;
}

void InstructBlipVisionEmbeddings::check(const TensorView& pixel_values, bool interpolate) const {
  if (pixel_values.rank() != 4 || pixel_values.dim(0) < 1 || pixel_values.dim(1) != 3 ||
      !is_floating_point(pixel_values.dtype)) {
    throw InputError("pixel_values are of type " + std::string(name_of(pixel_values.dtype)) +
                     " and shape " + to_string(pixel_values.shape) +
                     ", expected floating-point [batch, 3, height, width]");
  }
  const Index height = pixel_values.dim(2), width = pixel_values.dim(3);
  const Index found = (height / patch_size_) * (width / patch_size_);
  const std::string size = "pixel_values are " + std::to_string(height) + " x " +
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

Matrix InstructBlipVisionEmbeddings::patches(const float* pixels, Index height, Index width) const {
  const Index rows = height / patch_size_, cols = width / patch_size_;
  Matrix result(rows * cols, 3 * patch_size_ * patch_size_);
  for (Index r = 0; r < result.rows(); ++r) {
    float* out = result.row(r);
    const Index top = r / cols * patch_size_, left = r % cols * patch_size_;
    for (Index channel = 0; channel < 3; ++channel) {
      for (Index y = 0; y < patch_size_; ++y) {
        out = std::copy_n(pixels + (channel * height + top + y) * width + left, patch_size_, out);
      }
    }
  }
  return result;
}

Matrix InstructBlipVisionEmbeddings::operator()(const TensorView& pixel_values,
                                                bool interpolate) const {
  check(pixel_values, interpolate);
  const Tensor pixels = Tensor::copy_of(pixel_values).to(DType::Float32);
  const Index batch = pixels.dim(0), height = pixels.dim(2), width = pixels.dim(3);
  const Matrix positions = Matrix::from(interpolate ? interpolate_pos_encoding(height, width)
                                                    : position_embedding_.view());
  const Index length = positions.rows();

  Matrix embeddings(batch * length, embed_dim_);
  for (Index b = 0; b < batch; ++b) {
    float* class_row = embeddings.row(b * length);
    const float* class_embedding = class_embedding_.data<float>();
    for (Index d = 0; d < embed_dim_; ++d) {
      class_row[d] = class_embedding[d] + positions.row(0)[d];
    }
    const Matrix image = patches(pixels.data<float>() + b * 3 * height * width, height, width);
    Epilogue epilogue;
    epilogue.bias = patch_bias_.data<float>();
    epilogue.residual = positions.view().middle_rows(1, length - 1);
    matmul(image, patch_embedding_, embeddings.view().middle_rows(b * length + 1, length - 1),
           epilogue);
  }
  return embeddings;
}

InstructBlipAttention::InstructBlipAttention(const Weights& weights,
                                             const InstructBlipVisionConfig& config)
    : embed_dim_(config.hidden_size),
      qkv_(weights["qkv"], embed_dim_, 3 * embed_dim_, config.qkv_bias),
      projection_(weights["projection"], embed_dim_, embed_dim_) {
  shape_.num_heads = shape_.num_key_value_heads = config.num_attention_heads;
  shape_.head_dim = embed_dim_ / config.num_attention_heads;
  shape_.scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
}

void InstructBlipAttention::operator()(MatrixView hidden_states, const RowTable& rows,
                                       MutableMatrixView residual, Tensor* attentions) const {
  const Matrix qkv = qkv_(hidden_states);
  const MatrixView query = qkv.view().middle_cols(0, embed_dim_);
  const MatrixView key = qkv.view().middle_cols(embed_dim_, embed_dim_);
  const MatrixView value = qkv.view().middle_cols(2 * embed_dim_, embed_dim_);

  std::vector<AttentionSequence> sequences = self_attention(key, value, rows, false);
  if (attentions != nullptr) {
    const Index length = rows.count(0);
    *attentions = Tensor(DType::Float32, {rows.sequences(), shape_.num_heads, length, length});
    float* probabilities = attentions->data<float>();
    for (AttentionSequence& sequence : sequences) {
      sequence.probabilities = probabilities;
      probabilities += shape_.num_heads * length * length;
    }
  }
  projection_(attend(query, shape_, sequences), residual, {.residual = residual});
}

InstructBlipMLP::InstructBlipMLP(const Weights& weights, const InstructBlipVisionConfig& config)
    : activation_fn_(activation_from_name(config.hidden_act)),
      fc1_(weights["fc1"], config.hidden_size, config.intermediate_size),
      fc2_(weights["fc2"], config.intermediate_size, config.hidden_size) {}

void InstructBlipMLP::operator()(MatrixView hidden_states, MutableMatrixView residual) const {
  fc2_(fc1_(hidden_states, {.activation = activation_fn_}), residual, {.residual = residual});
}

InstructBlipEncoderLayer::InstructBlipEncoderLayer(const Weights& weights,
                                                   const InstructBlipVisionConfig& config)
    : self_attn_(weights["self_attn"], config),
      layer_norm1_(weights["layer_norm1"], config.hidden_size, config.layer_norm_eps),
      mlp_(weights["mlp"], config),
      layer_norm2_(weights["layer_norm2"], config.hidden_size, config.layer_norm_eps) {}

void InstructBlipEncoderLayer::operator()(MutableMatrixView hidden_states, const RowTable& rows,
                                          Tensor* attentions) const {
  self_attn_(layer_norm1_(hidden_states), rows, hidden_states, attentions);
  mlp_(layer_norm2_(hidden_states), hidden_states);
}

InstructBlipEncoder::InstructBlipEncoder(const Weights& weights,
                                         const InstructBlipVisionConfig& config) {
  for (Index i = 0; i < config.num_hidden_layers; ++i) {
    layers_.emplace_back(weights["layers"][i], config);
  }
}

void InstructBlipEncoder::operator()(Matrix& hidden_states, const RowTable& rows,
                                     const VisionForwardOptions& options,
                                     BaseModelOutputWithPooling& output) const {
  const auto capture = [&] {
    if (!options.output_hidden_states) return;
    output.hidden_states.push_back(
        hidden_states.to_tensor({rows.sequences(), rows.count(0), hidden_states.cols()}));
  };
  capture();
  for (const InstructBlipEncoderLayer& layer : layers_) {
    Tensor* attentions = options.output_attentions ? &output.attentions.emplace_back() : nullptr;
    layer(hidden_states, rows, attentions);
    capture();
  }
}

InstructBlipVisionModel::InstructBlipVisionModel(const Weights& weights,
                                                 const InstructBlipVisionConfig& config)
    : config_((config.validate(), config)),
      embeddings_(weights["embeddings"], config),
      encoder_(weights["encoder"], config),
      post_layernorm_(weights["post_layernorm"], config.hidden_size, config.layer_norm_eps) {}

InstructBlipVisionModel InstructBlipVisionModel::from_pretrained(const std::filesystem::path& path,
                                                                 const LoadOptions& options) {
  return detail::load_model<InstructBlipVisionModel, InstructBlipVisionConfig>(
      path, options, {"", "vision_model"}, "embeddings.class_embedding");
}

BaseModelOutputWithPooling InstructBlipVisionModel::forward(
    const TensorView& pixel_values, const VisionForwardOptions& options) const {
  BaseModelOutputWithPooling output;
  Matrix hidden_states = embeddings_(pixel_values, options.interpolate_pos_encoding);
  const Index batch = pixel_values.dim(0), length = hidden_states.rows() / batch;
  encoder_(hidden_states, RowTable::uniform(batch, length), options, output);
  post_layernorm_(hidden_states, hidden_states);
  output.last_hidden_state = hidden_states.to_tensor({batch, length, config_.hidden_size});

  Matrix pooled(batch, config_.hidden_size);
  for (Index b = 0; b < batch; ++b) {
    std::copy_n(hidden_states.row(b * length), config_.hidden_size, pooled.row(b));
  }
  post_layernorm_(pooled, pooled);
  output.pooler_output = pooled.to_tensor();
  return output;
}

}  // namespace instructblip
