// The operations that layers are built of. All are deterministic: a row's result has the same bits
// alone or among others, with any number of threads ("one order of sums": k runs ascending in fixed
// blocks, only rows and outputs are divided over threads, attention goes over keys counted from the
// sequence's own start, norms are per row). Activations are float32. Thread-safe; threads come from
// core/threads.h.
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

/// What matmul does with a sum before it is stored, in this order:
///   y = activation(x W^T + bias) * scale * gate + residual
struct Epilogue {
  const float* bias = nullptr;  // [out_features]
  Activation activation = Activation::None;
  float scale = 1.0f;
  MatrixView gate{};      // [rows, out_features]; absent: 1
  MatrixView residual{};  // [rows, out_features]; absent: 0; may be y itself
};

/// y[r, o] = epilogue(sum over k of x[r, k] * weight[o, k]). x [rows, in], y [rows, out], float32.
/// Throws InputError if the shapes do not fit or `weight` is empty. y must not overlap x or gate.
INSTRUCTBLIP_EXPORT void matmul(MatrixView x, const PreparedMatrix& weight, MutableMatrixView y,
                                const Epilogue& epilogue = {});

/// y[r] = (x[r] - mean) / sqrt(variance + eps) * weight + bias, mean and variance (biased) per row.
/// x, y [rows, cols], y may be x; weight and bias [cols]. Throws InputError if the shapes do not
/// fit.
INSTRUCTBLIP_EXPORT void layer_norm(MatrixView x, const float* weight, const float* bias, float eps,
                                    MutableMatrixView y);

/// y[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight. x, y [rows, cols], y may be x; weight [cols].
/// Throws InputError if the shapes do not fit.
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

/// y[r] = table[ids[r]] as float32, y [ids, in_features]. Throws InputError naming the row and the
/// id if one is outside the table.
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

/// One sequence of an attention call: which rows of the query matrix are its own, and what they
/// see.
struct AttentionSequence {
  Index query_begin = 0;
  Index query_count = 0;
  /// All keys of the sequence in order; what a row sees does not depend on where the spans are cut.
  std::vector<KeyValueSpan> keys;
  /// Causal if >= 0: query i sees the keys [0, causal_offset + i] only (causal_offset: the keys
  /// before the first query's own). -1: every query sees every key.
  Index causal_offset = -1;
  /// Validity of each key (0: nobody sees it), or nullptr for all valid. A query that sees no key
  /// gets zeros.
  const std::uint8_t* key_valid = nullptr;
  /// Added to scores (T5's relative position): element (h, i, j) at
  /// bias + h * bias_head_stride + i * bias_query_stride + j; nullptr for none.
  const float* bias = nullptr;
  Index bias_head_stride = 0;
  Index bias_query_stride = 0;
  /// Where the attention probabilities [num_heads, query_count, keys] go, or nullptr. Unseen keys
  /// get 0.
  float* probabilities = nullptr;
};

/// The heads of an attention call.
struct AttentionShape {
  Index num_heads = 1;
  /// Query head h reads key head h / (num_heads / num_key_value_heads).
  Index num_key_value_heads = 1;
  Index head_dim = 1;
  float scale = 1.0f;  // of the scores, before the bias
};

/// output[r, head h] = softmax(scale * q . k + bias) v, softmax in float32 over the keys that the
/// row sees, keys taken in ascending order. q and output [rows, num_heads * head_dim]. Throws
/// InputError if the shapes do not fit.
INSTRUCTBLIP_EXPORT void scaled_dot_product_attention(MatrixView q, const AttentionShape& shape,
                                                      std::span<const AttentionSequence> sequences,
                                                      MutableMatrixView output);

}  // namespace instructblip
