// The operations that layers are built from. The result of a row has the same bits whether it is
// computed alone or with other rows, and with any number of threads ("one order of sums"): inputs
// are added in ascending order in fixed blocks, only rows and outputs are divided among threads,
// attention visits keys in the order of their sequence, and norms are computed per row. Inputs and
// results are float32; weights have the type of their PreparedMatrix. All functions are thread-safe
// and use the threads of core/threads.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/kernels/prepared_matrix.h"

namespace instructblip {

enum class Activation {
  None,
  Gelu,       // x * Phi(x), the erf form
  GeluTanh,   // the tanh form: gelu_new, gelu_pytorch_tanh, gelu_fast
  QuickGelu,  // x * sigmoid(1.702 x)
  Relu,
  Silu,  // x * sigmoid(x)
};

/// What matmul applies to its sums before it stores them:
///   y = activation(x W^T + bias) * scale * gate + residual
struct Epilogue {
  const float* bias = nullptr;  // [out_features]
  Activation activation = Activation::None;
  float scale = 1.0f;
  MatrixView gate{};      // [rows, out_features]; 1 if empty
  MatrixView residual{};  // [rows, out_features]; 0 if empty; may be y itself
};

/// y[r, o] = epilogue(sum over k of x[r, k] * weight[o, k]). x [rows, in], y [rows, out], float32.
/// y must not overlap x or gate. Throws InputError if the shapes do not match or `weight` is empty.
INSTRUCTBLIP_EXPORT void matmul(MatrixView x, const PreparedMatrix& weight, MutableMatrixView y,
                                const Epilogue& epilogue = {});

/// The bytes of the weights of all calls of `matmul` by this thread, for timings.
INSTRUCTBLIP_EXPORT std::int64_t multiplied_weight_bytes();

/// y[r] = (x[r] - mean) / sqrt(variance + eps) * weight + bias, with the mean and the biased
/// variance of row r. x, y [rows, cols]; y may be x; weight and bias [cols]. Throws InputError if
/// the shapes do not match.
INSTRUCTBLIP_EXPORT void layer_norm(MatrixView x, const float* weight, const float* bias, float eps,
                                    MutableMatrixView y);

/// y[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight. x, y [rows, cols]; y may be x; weight [cols].
/// Throws InputError if the shapes do not match.
INSTRUCTBLIP_EXPORT void rms_norm(MatrixView x, const float* weight, float eps,
                                  MutableMatrixView y);

/// y += x, element by element. x, y [rows, cols]. Throws InputError if the shapes do not fit.
INSTRUCTBLIP_EXPORT void add_rows(MatrixView x, MutableMatrixView y);

/// y[i] = x[rows[i]]. x [any, cols], y [rows.size(), cols], which must not overlap x. Throws
/// InputError if the shapes do not fit or a row is out of range.
INSTRUCTBLIP_EXPORT void gather_rows(MatrixView x, std::span<const Index> rows,
                                     MutableMatrixView y);

/// y[rows[i]] = x[i]; the other rows of y keep their values. x [rows.size(), cols], y [any, cols],
/// which must not overlap x. Throws InputError if the shapes do not fit or a row is out of range.
INSTRUCTBLIP_EXPORT void scatter_rows(MatrixView x, std::span<const Index> rows,
                                      MutableMatrixView y);

/// y[r] = table[ids[r]] in float32, y [ids, in_features]. Throws InputError that names the row and
/// the id if an id is not in the table.
INSTRUCTBLIP_EXPORT void embedding_rows(const PreparedMatrix& table,
                                        std::span<const std::int64_t> ids, MutableMatrixView y);

/// Keys and values of consecutive positions of one sequence: position j, head h at
/// keys + j * stride + h * head_dim, values likewise.
struct KeyValueSpan {
  const float* keys = nullptr;
  const float* values = nullptr;
  Index count = 0;
  Index stride = 0;
};

/// One sequence of an attention call: its rows of the query matrix and its keys.
struct AttentionSequence {
  Index query_begin = 0;
  Index query_count = 0;
  /// All keys of the sequence in order. The results do not depend on how the keys are divided into
  /// spans.
  std::vector<KeyValueSpan> keys;
  /// -1: every query attends to every key. Otherwise attention is causal: query i attends to the
  /// keys [0, causal_offset + i], so causal_offset is the number of keys before that of query 0.
  Index causal_offset = -1;
  /// One value per key, 0 = masked out; nullptr if all keys are valid. The output of a query whose
  /// keys are all masked out is 0.
  const std::uint8_t* key_valid = nullptr;
  /// Added to the scores (T5's relative positions): element (h, i, j) is at
  /// bias + h * bias_head_stride + i * bias_query_stride + j. nullptr for none.
  const float* bias = nullptr;
  Index bias_head_stride = 0;
  Index bias_query_stride = 0;
  /// If not nullptr, receives the attention probabilities [num_heads, query_count, keys], 0 for
  /// keys that are masked out.
  float* probabilities = nullptr;
};

/// The heads of an attention call.
struct AttentionShape {
  Index num_heads = 1;
  /// Query head h reads key head h / (num_heads / num_key_value_heads).
  Index num_key_value_heads = 1;
  Index head_dim = 1;
  float scale = 1.0f;  // factor of the scores, before the bias is added
  /// The type of the model's weights and of its activations, as in PreparePolicy. Where the weights
  /// are in BFloat16, attention is not causal and the CPU multiplies bfloat16 in tiles (the level
  /// "amx"), queries, keys, probabilities and values are sums of two bfloat16 numbers, to 2^-17 of
  /// themselves, or, with activations in BFloat16, rounded to bfloat16, as PyTorch's are.
  /// Everywhere else they stay float32.
  DType dtype = DType::Float32;
  DType activations = DType::Float32;
};

/// output[r, head h] = softmax(scale * q . k + bias) v, over the keys to which row r attends, in
/// ascending order; softmax is in float32. q and output [rows, num_heads * head_dim]. Throws
/// InputError if the shapes do not match.
INSTRUCTBLIP_EXPORT void scaled_dot_product_attention(MatrixView q, const AttentionShape& shape,
                                                      std::span<const AttentionSequence> sequences,
                                                      MutableMatrixView output);

}  // namespace instructblip
