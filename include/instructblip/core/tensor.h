// Tensor (owned, 64-byte aligned, row-major), TensorView (a view of memory owned elsewhere), and
// Matrix / MatrixView: the two-dimensional activations that layers pass to each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "instructblip/core/dtype.h"
#include "instructblip/core/export.h"

namespace instructblip {

using Shape = std::vector<Index>;

/// "[2, 3, 224, 224]".
INSTRUCTBLIP_EXPORT std::string to_string(const Shape& shape);
/// Product of the dimensions (1 for a scalar). Throws InputError on a negative dimension or
/// overflow.
INSTRUCTBLIP_EXPORT Index element_count(const Shape& shape);

/// Read-only view of a tensor in memory owned elsewhere (a mapped file, a Tensor, a caller's
/// array). Strides are in elements; a view constructed from a shape alone is contiguous.
struct TensorView {
  const void* data = nullptr;
  DType dtype = DType::Float32;
  Shape shape;
  Shape strides;

  TensorView() = default;
  INSTRUCTBLIP_EXPORT TensorView(const void* data, DType dtype, Shape shape);

  /// Size of one dimension, which must exist; a negative index counts from the end.
  Index dim(Index i) const { return at(shape, i < 0 ? i + rank() : i); }
  Index rank() const { return std::ssize(shape); }
  /// Whether it was given: a default-constructed view was not. A tensor without elements has no
  /// data, but a shape.
  bool has_value() const { return data != nullptr || rank() > 0; }
  /// Number of elements; 0 for a default-constructed view.
  INSTRUCTBLIP_EXPORT Index size() const;
  INSTRUCTBLIP_EXPORT bool is_contiguous() const;
  /// The indices [begin, begin + count) of one dimension, as torch.narrow; negative `dim` counts
  /// from the end. No element is copied. Throws InputError if they lie outside.
  INSTRUCTBLIP_EXPORT TensorView narrow(Index dim, Index begin, Index count) const;
};

/// A view together with the owner of its memory (a mapped checkpoint, a Tensor). A view without
/// data stands for a tensor missing from a checkpoint: loading goes on, so that one error can
/// report all faults.
struct SharedTensor : TensorView {
  std::shared_ptr<const void> owner;

  SharedTensor() = default;
  SharedTensor(TensorView view, std::shared_ptr<const void> keep_alive)
      : TensorView(std::move(view)), owner(std::move(keep_alive)) {}
};

/// An owned tensor: contiguous, row-major, 64-byte aligned. Copying copies the elements. Concurrent
/// reads are safe.
class INSTRUCTBLIP_EXPORT Tensor {
 public:
  /// An empty tensor: no elements, shape [0].
  Tensor();
  /// Zero-filled. Throws InputError on an invalid shape, like every function that takes a Shape.
  Tensor(DType dtype, Shape shape);
  /// Copies `values`. Throws InputError if their count is not the product of `shape`.
  template <class T>
  Tensor(const std::vector<T>& values, Shape shape);
  Tensor(const Tensor& other);
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(Tensor other) noexcept;
  ~Tensor();

  /// Without initialising the elements: for results that are overwritten at once.
  static Tensor uninitialized(DType dtype, Shape shape);
  /// Copies a view with any strides. Throws InputError if it has elements but no data.
  static Tensor copy_of(const TensorView& view);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  Index rank() const { return std::ssize(shape_); }
  /// Size of one dimension; a negative index counts from the end. Throws InputError if there is no
  /// such dimension.
  Index dim(Index i) const;
  /// Number of elements.
  Index size() const { return size_; }
  bool empty() const { return size_ == 0; }

  /// The elements, row-major. Throws InputError if T is not the tensor's element type.
  template <class T>
  T* data();
  template <class T>
  const T* data() const;
  template <class T>
  std::span<T> span() {
    return {data<T>(), to_size(size_)};
  }
  template <class T>
  std::span<const T> span() const {
    return {data<T>(), to_size(size_)};
  }
  /// One element. Throws InputError on a wrong type, a wrong number of indices, or an index out of
  /// range.
  template <class T>
  T& at(std::initializer_list<Index> index);
  template <class T>
  const T& at(std::initializer_list<Index> index) const;
  void* raw() { return data_.get(); }
  const void* raw() const { return data_.get(); }

  TensorView view() const { return {raw(), dtype_, shape_}; }
  TensorView narrow(Index dim, Index begin, Index count) const {
    return view().narrow(dim, begin, count);
  }
  operator TensorView() const { return view(); }  // NOLINT: a tensor converts to a view

  /// A copy with another shape; one dimension may be -1. Throws InputError if the number of
  /// elements differs.
  Tensor reshaped(Shape shape) const;
  /// Each element of the first dimension `copies` times, the copies next to each other. Throws
  /// InputError on a scalar.
  Tensor repeat_interleave(Index copies) const;
  /// Converts each element through double (floats round to nearest even, float to integer
  /// truncates). The new type must be able to hold the values.
  Tensor to(DType dtype) const;

 private:
  struct Free {
    void operator()(void* pointer) const;
  };
  void check_type(DType wanted) const;
  void check_count(std::size_t found) const;
  Index offset_of(std::initializer_list<Index> index) const;

  DType dtype_ = DType::Float32;
  Shape shape_;
  Index size_ = 0;
  std::unique_ptr<void, Free> data_;
};

/// Rows of activations: `rows` x `cols` elements; row r starts at data + r * stride elements.
/// Read-only; see MutableMatrixView. `row` is for float32 activations. Ranges are not checked: the
/// caller must keep them inside.
struct MatrixView {
  const void* data = nullptr;
  DType dtype = DType::Float32;
  Index rows = 0, cols = 0, stride = 0;

  bool empty() const { return data == nullptr; }
  const float* row(Index r) const { return static_cast<const float*>(data) + r * stride; }
  MatrixView middle_rows(Index begin, Index count) const {
    return {static_cast<const char*>(data) + begin * stride * static_cast<Index>(size_of(dtype)),
            dtype, count, cols, stride};
  }
  MatrixView middle_cols(Index begin, Index count) const {
    return {static_cast<const char*>(data) + begin * static_cast<Index>(size_of(dtype)), dtype,
            rows, count, stride};
  }
};

/// Like MatrixView, but writable.
struct MutableMatrixView {
  void* data = nullptr;
  DType dtype = DType::Float32;
  Index rows = 0, cols = 0, stride = 0;

  float* row(Index r) const { return static_cast<float*>(data) + r * stride; }
  operator MatrixView() const { return {data, dtype, rows, cols, stride}; }
  MutableMatrixView middle_rows(Index begin, Index count) const {
    return {static_cast<char*>(data) + begin * stride * static_cast<Index>(size_of(dtype)), dtype,
            count, cols, stride};
  }
  MutableMatrixView middle_cols(Index begin, Index count) const {
    return {static_cast<char*>(data) + begin * static_cast<Index>(size_of(dtype)), dtype, rows,
            count, stride};
  }
};

/// Owned activations [rows, cols] whose rows start at 64-byte boundaries. The memory comes from a
/// per-thread cache, so that a model's forward pass allocates nothing once the cache is warm.
/// Elements are not initialised.
class INSTRUCTBLIP_EXPORT Matrix {
 public:
  Matrix() = default;
  Matrix(Index rows, Index cols, DType dtype = DType::Float32);
  Matrix(Matrix&& other) noexcept;
  Matrix& operator=(Matrix&& other) noexcept;
  Matrix(const Matrix&) = delete;
  Matrix& operator=(const Matrix&) = delete;
  ~Matrix();

  /// Copies a [..., cols] float32 tensor; all leading dimensions become rows. Throws InputError on
  /// another type or a scalar.
  static Matrix from(const TensorView& tensor);
  static Matrix copy_of(MatrixView view);

  Index rows() const { return view_.rows; }
  Index cols() const { return view_.cols; }
  bool empty() const { return view_.rows == 0; }
  float* row(Index r) { return view_.row(r); }
  const float* row(Index r) const { return view_.row(r); }
  MutableMatrixView view() { return view_; }
  MatrixView view() const { return view_; }
  operator MatrixView() const { return view_; }   // NOLINT: kernels take views
  operator MutableMatrixView() { return view_; }  // NOLINT
  /// A contiguous float32 tensor of `shape` (default: [rows, cols]). Throws InputError if the
  /// product of `shape` is not rows * cols, or if the activations are not float32.
  Tensor to_tensor(Shape shape = {}) const;

 private:
  MutableMatrixView view_;
  std::size_t bytes_ = 0;
};

/// `count` columns of `value` in front of an int64 matrix. Throws InputError on another type.
INSTRUCTBLIP_EXPORT Tensor prepend_columns(const Tensor& matrix, Index count, std::int64_t value);

/// The rows of a float32 tensor [..., cols], all leading dimensions taken as rows. Throws
/// InputError on another type.
inline MatrixView as_rows(const Tensor& tensor) {
  const Index cols = tensor.dim(-1);
  return {tensor.data<float>(), DType::Float32, cols == 0 ? 0 : tensor.size() / cols, cols, cols};
}
inline MutableMatrixView as_rows(Tensor& tensor) {
  const Index cols = tensor.dim(-1);
  return {tensor.data<float>(), DType::Float32, cols == 0 ? 0 : tensor.size() / cols, cols, cols};
}

template <class T>
Tensor::Tensor(const std::vector<T>& values, Shape shape)
    : Tensor(uninitialized(dtype_of<T>::value, std::move(shape))) {
  check_count(values.size());
  T* out = data<T>();
  for (const T& value : values) *out++ = value;
}

template <class T>
T* Tensor::data() {
  check_type(dtype_of<T>::value);
  return static_cast<T*>(data_.get());
}

template <class T>
const T* Tensor::data() const {
  check_type(dtype_of<T>::value);
  return static_cast<const T*>(data_.get());
}

template <class T>
T& Tensor::at(std::initializer_list<Index> index) {
  return data<T>()[offset_of(index)];
}

template <class T>
const T& Tensor::at(std::initializer_list<Index> index) const {
  return data<T>()[offset_of(index)];
}

}  // namespace instructblip
