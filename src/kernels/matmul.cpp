// matmul: blocking, packing, threads and epilogue around a level's `dots`.
#include <algorithm>
#include <cstring>

#include "instructblip/core/threads.h"
#include "instructblip/kernels/kernels.h"
#include "kernels/activations.h"
#include "kernels/checks.h"
#include "kernels/kernel_table.h"
#include "kernels/prepared_matrix_impl.h"

namespace instructblip {
namespace {

// k is summed in blocks of this many: lanes are reduced once a block, and the blocks are added
// ascending. Part of the order of sums, so the same for all shapes.
constexpr Index kBlockK = 1024;
// Outputs whose weights are packed together: 48 x 1024 floats stay in the second-level cache while
// all rows pass over them. Multiples of the 3 or 4 outputs of a level's tile, as kUnit is.
constexpr Index kBlockOutputs = 48;
// With so few rows the packed weights are used only a few times: keep them in the first level.
constexpr Index kFewRows = 16;
constexpr Index kFewRowsOutputs = 6;
// As long as widening bfloat16 once for each tile of rows costs less than keeping it.
constexpr Index kDirectRows = 8;
// A single row reads each weight once: as few streams of memory as a tile has rows.
constexpr Index kOneRowOutputs = 4;
// Threads take whole units of outputs.
constexpr Index kUnit = 12;
// Bounds the memory of partial results.
constexpr Index kBlockRows = 1024;
// Work below this many multiplications a thread is not worth waking one.
constexpr Index kGrain = 1 << 17;

Index round_up(Index n, Index multiple) { return (n + multiple - 1) / multiple * multiple; }

class Matmul {
 public:
  Matmul(MatrixView x, const PreparedMatrix::Impl& weight, MutableMatrixView y,
         const Epilogue& epilogue)
      : table_(kernels()), x_(x), weight_(weight), y_(y), epilogue_(epilogue) {
    if (x_.cols % table_.lanes != 0) pad_x();
  }

  void outputs(Index begin, Index end) const {
    const Index step = x_.rows == 1          ? kOneRowOutputs
                       : x_.rows <= kFewRows ? kFewRowsOutputs
                                             : kBlockOutputs;
    Matrix sums(std::min(x_.rows, kBlockRows), step);
    Matrix packed(step, std::min(kBlockK, round_up(x_.cols, table_.lanes)));
    for (Index r = 0; r < x_.rows; r += kBlockRows) {
      const Index rows = std::min(kBlockRows, x_.rows - r);
      for (Index o = begin; o < end; o += step) {
        block(r, rows, o, std::min(step, end - o), packed, sums);
      }
    }
  }

 private:
  void pad_x() {
    padded_ = Matrix(x_.rows, round_up(x_.cols, table_.lanes));
    for (Index r = 0; r < x_.rows; ++r) {
      std::copy_n(x_.row(r), x_.cols, padded_.row(r));
      std::fill(padded_.row(r) + x_.cols, padded_.row(r) + padded_.cols(), 0.0f);
    }
    x_.data = padded_.row(0);
    x_.stride = padded_.view().stride;
  }

  void block(Index r, Index rows, Index o, Index outs, Matrix& packed, Matrix& sums) const {
    for (Index i = 0; i < rows; ++i) std::fill_n(sums.row(i), outs, 0.0f);
    for (Index k = 0; k < x_.cols; k += kBlockK) {
      const Index depth = std::min(kBlockK, x_.cols - k);
      if (weight_.dtype == DType::BFloat16) {
        bf16_depth(r, rows, o, outs, k, depth, packed, sums);
      } else {
        float_depth(r, rows, o, outs, k, depth, packed, sums);
      }
    }
    for (Index i = 0; i < rows; ++i) finish(r + i, o, outs, sums.row(i));
  }

  // Weights of a few rows are read where they lie; of many, from a packed copy without the cache
  // conflicts that rows of a large power of two apart have.
  void float_depth(Index r, Index rows, Index o, Index outs, Index k, Index depth, Matrix& packed,
                   Matrix& sums) const {
    const float* w[kBlockOutputs];
    const Index padded = round_up(depth, table_.lanes);
    const bool pack = padded != depth || rows > kFewRows;
    for (Index i = 0; i < outs; ++i) {
      w[i] = weight_.row<float>(o + i) + k;
      if (!pack) continue;
      std::copy_n(w[i], depth, packed.row(i));
      std::fill(packed.row(i) + depth, packed.row(i) + padded, 0.0f);
      w[i] = packed.row(i);
    }
    rows_over(table_.dots, r, rows, k, padded, w, outs, sums);
  }

  void bf16_depth(Index r, Index rows, Index o, Index outs, Index k, Index depth, Matrix& packed,
                  Matrix& sums) const {
    const Index padded = round_up(depth, table_.lanes);
    if (rows <= kDirectRows && padded == depth) {
      const std::uint16_t* w[kFewRowsOutputs];
      for (Index i = 0; i < outs; ++i) w[i] = weight_.row<std::uint16_t>(o + i) + k;
      rows_over(table_.dots_bf16, r, rows, k, depth, w, outs, sums);
      return;
    }
    const float* w[kBlockOutputs];
    for (Index i = 0; i < outs; ++i) {
      const std::uint16_t* stored = weight_.row<std::uint16_t>(o + i) + k;
      table_.widen_bf16(stored, depth, packed.row(i));
      std::fill(packed.row(i) + depth, packed.row(i) + padded, 0.0f);
      w[i] = packed.row(i);
    }
    rows_over(table_.dots, r, rows, k, padded, w, outs, sums);
  }

  template <class Dots, class Weight>
  void rows_over(Dots dots, Index r, Index rows, Index k, Index depth, const Weight* const* w,
                 Index outs, Matrix& sums) const {
    for (Index i = 0; i < rows; i += kTileRows) {
      const Index tile = std::min(kTileRows, rows - i);
      const float* x[kTileRows];
      for (Index t = 0; t < tile; ++t) x[t] = x_.row(r + i + t) + k;
      dots(x, tile, w, outs, depth, sums.row(i), sums.view().stride);
    }
  }

  void finish(Index r, Index o, Index outs, float* sums) const {
    if (epilogue_.bias != nullptr) {
      for (Index i = 0; i < outs; ++i) sums[i] += epilogue_.bias[o + i];
    }
    activate_row(table_, epilogue_.activation, sums, outs);
    if (epilogue_.scale != 1.0f) {
      for (Index i = 0; i < outs; ++i) sums[i] *= epilogue_.scale;
    }
    if (!epilogue_.gate.empty()) {
      const float* gate = epilogue_.gate.row(r) + o;
      for (Index i = 0; i < outs; ++i) sums[i] *= gate[i];
    }
    if (!epilogue_.residual.empty()) {
      const float* residual = epilogue_.residual.row(r) + o;
      for (Index i = 0; i < outs; ++i) sums[i] += residual[i];
    }
    std::copy_n(sums, outs, y_.row(r) + o);
  }

  const KernelTable& table_;
  MatrixView x_;
  Matrix padded_;
  const PreparedMatrix::Impl& weight_;
  MutableMatrixView y_;
  const Epilogue& epilogue_;
};

}  // namespace

void matmul(MatrixView x, const PreparedMatrix& weight, MutableMatrixView y,
            const Epilogue& epilogue) {
  if (weight.empty()) throw InputError("matmul: the weight is empty (its tensor was missing)");
  const Index outs = weight.out_features();
  check_matrix("matmul: x", x, x.rows, weight.in_features());
  check_matrix("matmul: y", y, x.rows, outs);
  if (!epilogue.gate.empty()) check_matrix("matmul: gate", epilogue.gate, x.rows, outs);
  if (!epilogue.residual.empty()) check_matrix("matmul: residual", epilogue.residual, x.rows, outs);
  if (x.rows == 0 || outs == 0) return;
  const Matmul work(x, *weight.impl(), y, epilogue);
  const Index grain = kGrain / std::max<Index>(1, x.rows * x.cols * kUnit) + 1;
  parallel_for((outs + kUnit - 1) / kUnit, grain, [&](Index begin, Index end) {
    work.outputs(begin * kUnit, std::min(end * kUnit, outs));
  });
}

void embedding_rows(const PreparedMatrix& table, std::span<const std::int64_t> ids,
                    MutableMatrixView y) {
  if (table.empty())
    throw InputError("embedding_rows: the table is empty (its tensor was missing)");
  check_matrix("embedding_rows: y", y, static_cast<Index>(ids.size()), table.in_features());
  for (std::size_t r = 0; r < ids.size(); ++r) {
    if (ids[r] < 0 || ids[r] >= table.out_features()) {
      throw InputError("embedding_rows: row " + std::to_string(r) + " asks for id " +
                       std::to_string(ids[r]) + ", the table has " +
                       std::to_string(table.out_features()) + " entries");
    }
  }
  const PreparedMatrix::Impl& impl = *table.impl();
  for (std::size_t r = 0; r < ids.size(); ++r) {
    float* out = y.row(static_cast<Index>(r));
    if (impl.dtype == DType::BFloat16) {
      kernels().widen_bf16(impl.row<std::uint16_t>(ids[r]), impl.in_features, out);
    } else {
      std::copy_n(impl.row<float>(ids[r]), impl.in_features, out);
    }
  }
}

}  // namespace instructblip
