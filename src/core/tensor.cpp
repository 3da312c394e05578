#include "instructblip/core/tensor.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <new>

#include "core/huge_pages.h"
#include "instructblip/core/error.h"

namespace instructblip {
namespace {

constexpr std::align_val_t kAlignment{64};

Shape contiguous_strides(const Shape& shape) {
  Shape strides(shape.size());
  Index stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

double load(const void* data, DType dtype, Index i) {
  switch (dtype) {
    case DType::Float32: return static_cast<const float*>(data)[i];
    case DType::BFloat16: return static_cast<const bfloat16*>(data)[i];
    case DType::Float16: return static_cast<const float16*>(data)[i];
    case DType::Int64: return static_cast<double>(static_cast<const std::int64_t*>(data)[i]);
    case DType::Int32: return static_cast<const std::int32_t*>(data)[i];
    case DType::Int8: return static_cast<const std::int8_t*>(data)[i];
    case DType::UInt8: return static_cast<const std::uint8_t*>(data)[i];
    case DType::Bool: return static_cast<const std::uint8_t*>(data)[i] != 0;
  }
  return 0;
}

void store(void* data, DType dtype, Index i, double value) {
  switch (dtype) {
    case DType::Float32: static_cast<float*>(data)[i] = static_cast<float>(value); break;
    case DType::BFloat16:
      static_cast<bfloat16*>(data)[i] = bfloat16(static_cast<float>(value));
      break;
    case DType::Float16: static_cast<float16*>(data)[i] = float16(static_cast<float>(value)); break;
    case DType::Int64:
      static_cast<std::int64_t*>(data)[i] = static_cast<std::int64_t>(value);
      break;
    case DType::Int32:
      static_cast<std::int32_t*>(data)[i] = static_cast<std::int32_t>(value);
      break;
    case DType::Int8:
      static_cast<std::int8_t*>(data)[i] = static_cast<std::int8_t>(value);
      break;
    case DType::UInt8:
      static_cast<std::uint8_t*>(data)[i] = static_cast<std::uint8_t>(value);
      break;
    case DType::Bool: static_cast<std::uint8_t*>(data)[i] = value != 0; break;
  }
}

// Copies the sub-array of `view` from dimension `d` on: the elements at `source` to `target`,
// row-major.
char* copy_strided(const TensorView& view, std::size_t d, const char* source, char* target) {
  const auto bytes = static_cast<Index>(size_of(view.dtype));
  if (d == view.shape.size()) {
    std::memcpy(target, source, to_size(bytes));
    return target + bytes;
  }
  for (Index i = 0; i < view.shape[d]; ++i) {
    target = copy_strided(view, d + 1, source + i * view.strides[d] * bytes, target);
  }
  return target;
}

// Freed blocks of one thread by size class, which the next Matrix of that class reuses.
class Arena {
 public:
  ~Arena() {
    alive = false;
    for (auto& blocks : free_) {
      for (void* block : blocks) ::operator delete(block, kAlignment);
    }
  }

  static std::size_t round_up(std::size_t bytes) {
    return bytes <= kSmallest ? kSmallest : std::bit_ceil(bytes);
  }

  void* allocate(std::size_t bytes) {
    auto& blocks = free_[index_of(bytes)];
    if (blocks.empty()) {
      void* const block = ::operator new(bytes, kAlignment);
      use_huge_pages(block, bytes);
      return block;
    }
    void* block = blocks.back();
    blocks.pop_back();
    held_ -= bytes;
    return block;
  }

  void release(void* block, std::size_t bytes) {
    if (held_ + bytes > kMostHeld) {
      ::operator delete(block, kAlignment);
      return;
    }
    free_[index_of(bytes)].push_back(block);
    held_ += bytes;
  }

  static thread_local bool alive;

 private:
  static constexpr std::size_t kSmallest = 4096;
  static constexpr std::size_t kMostHeld = std::size_t{256} << 20;

  static std::size_t index_of(std::size_t bytes) {
    return static_cast<std::size_t>(std::countr_zero(bytes));
  }

  std::array<std::vector<void*>, 64> free_;
  std::size_t held_ = 0;
};

thread_local bool Arena::alive = true;
thread_local Arena arena;

}  // namespace

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

Index element_count(const Shape& shape) {
  Index count = 1;  // without dimensions of 0, because the strides must be bounded, too
  bool is_empty = false;
  for (Index dim : shape) {
    if (dim < 0) throw InputError("shape " + to_string(shape) + " has a negative dimension");
    is_empty |= dim == 0;
    if (dim == 0) continue;
    if (count > std::numeric_limits<Index>::max() / 8 / dim) {
      throw InputError("shape " + to_string(shape) + " has more elements than memory can address");
    }
    count *= dim;
  }
  return is_empty ? 0 : count;
}

TensorView::TensorView(const void* data, DType dtype, Shape shape)
    : data(data), dtype(dtype), shape(std::move(shape)), strides(contiguous_strides(this->shape)) {}

Index TensorView::size() const {
  return data == nullptr && shape.empty() ? 0 : element_count(shape);
}

bool TensorView::is_contiguous() const { return strides == contiguous_strides(shape); }

TensorView TensorView::narrow(Index dim, Index begin, Index count) const {
  const Index axis = dim < 0 ? dim + rank() : dim;
  if (axis < 0 || axis >= rank()) {
    throw InputError("narrow: dimension " + std::to_string(dim) + " of a tensor of shape " +
                     to_string(shape));
  }
  const Index size = this->dim(axis);
  if (begin < 0 || count < 0 || begin > size - count) {
    throw InputError("narrow: indices " + std::to_string(begin) + " to " +
                     std::to_string(begin + count) + " of dimension " + std::to_string(dim) +
                     " of a tensor of shape " + to_string(shape) + ", expected 0 to " +
                     std::to_string(size));
  }
  TensorView part = *this;
  part.shape[static_cast<std::size_t>(axis)] = count;
  if (data != nullptr) {
    const Index offset = begin * strides[static_cast<std::size_t>(axis)];
    part.data = static_cast<const char*>(data) + offset * static_cast<Index>(size_of(dtype));
  }
  return part;
}

void Tensor::Free::operator()(void* pointer) const { ::operator delete(pointer, kAlignment); }

Tensor::Tensor() : shape_{0} {}

Tensor::Tensor(DType dtype, Shape shape) : Tensor(uninitialized(dtype, std::move(shape))) {
  if (size_ > 0) std::memset(data_.get(), 0, to_size(size_) * size_of(dtype_));
}

Tensor::Tensor(const Tensor& other) : Tensor(uninitialized(other.dtype_, other.shape_)) {
  if (size_ > 0) {
    std::memcpy(data_.get(), other.data_.get(), to_size(size_) * size_of(dtype_));
  }
}

Tensor::Tensor(Tensor&& other) noexcept
    : dtype_(other.dtype_),
      shape_(std::exchange(other.shape_, Shape{0})),
      size_(std::exchange(other.size_, 0)),
      data_(std::move(other.data_)) {}

Tensor& Tensor::operator=(Tensor other) noexcept {
  dtype_ = other.dtype_;
  shape_ = std::move(other.shape_);
  size_ = other.size_;
  data_ = std::move(other.data_);
  return *this;
}

Tensor::~Tensor() = default;

Tensor Tensor::uninitialized(DType dtype, Shape shape) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.size_ = element_count(shape);
  tensor.shape_ = std::move(shape);
  if (tensor.size_ > 0) {
    tensor.data_.reset(::operator new(to_size(tensor.size_) * size_of(dtype), kAlignment));
  }
  return tensor;
}

Tensor Tensor::copy_of(const TensorView& view) {
  Tensor tensor = uninitialized(view.dtype, view.shape);
  if (tensor.size_ == 0) return tensor;
  if (view.data == nullptr) {
    throw InputError("cannot copy a view of shape " + to_string(view.shape) + ": it has no data");
  }
  if (view.is_contiguous()) {
    std::memcpy(tensor.raw(), view.data, to_size(tensor.size_) * size_of(view.dtype));
  } else {
    copy_strided(view, 0, static_cast<const char*>(view.data), static_cast<char*>(tensor.raw()));
  }
  return tensor;
}

Index Tensor::dim(Index i) const {
  const Index wanted = i < 0 ? i + rank() : i;
  if (wanted < 0 || wanted >= rank()) {
    throw InputError("dimension " + std::to_string(i) + " is out of range for a tensor of shape " +
                     to_string(shape_));
  }
  return shape_[to_size(wanted)];
}

Tensor Tensor::reshaped(Shape shape) const {
  Index known = 1;
  Index* unknown = nullptr;
  for (Index& dim : shape) {
    if (dim == -1 && unknown == nullptr) {
      unknown = &dim;
    } else {
      known *= dim;
    }
  }
  if (unknown != nullptr) *unknown = known == 0 ? 0 : size_ / known;
  if (element_count(shape) != size_) {
    throw InputError("a tensor of shape " + to_string(shape_) + " cannot be reshaped to " +
                     to_string(shape));
  }
  Tensor result(*this);
  result.shape_ = std::move(shape);
  return result;
}

Tensor Tensor::repeat_interleave(Index copies) const {
  const Index count = dim(0);
  Shape shape = shape_;
  shape.front() *= copies;
  Tensor result = uninitialized(dtype_, std::move(shape));
  if (result.empty()) return result;
  const Index bytes = size_ / count * static_cast<Index>(size_of(dtype_));
  for (Index i = 0; i < count * copies; ++i) {
    std::memcpy(static_cast<char*>(result.raw()) + i * bytes,
                static_cast<const char*>(raw()) + i / copies * bytes,
                static_cast<std::size_t>(bytes));
  }
  return result;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor result = uninitialized(dtype, shape_);
  for (Index i = 0; i < size_; ++i) store(result.raw(), dtype, i, load(raw(), dtype_, i));
  return result;
}

void Tensor::check_type(DType wanted) const {
  if (wanted != dtype_) {
    throw InputError("a " + std::string(name_of(dtype_)) + " tensor of shape " + to_string(shape_) +
                     " was read as " + std::string(name_of(wanted)) +
                     "; convert it with to() first");
  }
}

void Tensor::check_count(std::size_t found) const {
  if (static_cast<Index>(found) != size_) {
    throw InputError(std::to_string(found) + " values do not fill a tensor of shape " +
                     to_string(shape_));
  }
}

Index Tensor::offset_of(std::initializer_list<Index> index) const {
  bool inside = std::ssize(index) == rank();
  Index offset = 0;
  std::size_t d = 0;
  for (Index i : index) {
    if (!inside) break;
    inside = i >= 0 && i < shape_[d];
    offset = offset * shape_[d++] + i;
  }
  if (!inside) {
    throw InputError("index " + to_string(Shape(index)) +
                     " is out of range for a tensor of shape " + to_string(shape_));
  }
  return offset;
}

Matrix::Matrix(Index rows, Index cols, DType dtype) {
  if (rows < 0 || cols < 0) {
    throw InputError("a matrix cannot have " + std::to_string(rows) + " rows and " +
                     std::to_string(cols) + " columns");
  }
  const auto per_line = static_cast<Index>(64 / size_of(dtype));
  const Index stride = (cols + per_line - 1) / per_line * per_line;
  view_ = {nullptr, dtype, rows, cols, stride};
  if (rows == 0 || stride == 0) return;
  bytes_ = Arena::round_up(to_size(element_count({rows, stride})) * size_of(dtype));
  view_.data = arena.allocate(bytes_);
}

Matrix::Matrix(Matrix&& other) noexcept
    : view_(std::exchange(other.view_, {})), bytes_(std::exchange(other.bytes_, 0)) {}

Matrix& Matrix::operator=(Matrix&& other) noexcept {
  std::swap(view_, other.view_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Matrix::~Matrix() {
  if (view_.data == nullptr) return;
  // A matrix may outlive the arena of an exiting thread.
  if (Arena::alive) {
    arena.release(view_.data, bytes_);
  } else {
    ::operator delete(view_.data, kAlignment);
  }
}

Matrix Matrix::from(const TensorView& tensor) {
  if (tensor.rank() == 0 || tensor.dtype != DType::Float32) {
    throw InputError("activations: expected a float32 tensor of at least one dimension, found " +
                     std::string(name_of(tensor.dtype)) + " " + to_string(tensor.shape));
  }
  const Tensor contiguous = tensor.is_contiguous() ? Tensor() : Tensor::copy_of(tensor);
  const auto* data =
      static_cast<const float*>(tensor.is_contiguous() ? tensor.data : contiguous.raw());
  const Index cols = tensor.dim(-1);
  return copy_of({data, DType::Float32, cols == 0 ? 0 : tensor.size() / cols, cols, cols});
}

Matrix Matrix::copy_of(MatrixView view) {
  Matrix matrix(view.rows, view.cols, view.dtype);
  const std::size_t element = size_of(view.dtype);
  for (Index r = 0; r < view.rows && view.cols > 0; ++r) {
    std::memcpy(static_cast<char*>(matrix.view_.data) + to_size(r * matrix.view_.stride) * element,
                static_cast<const char*>(view.data) + to_size(r * view.stride) * element,
                to_size(view.cols) * element);
  }
  return matrix;
}

Tensor prepend_columns(const Tensor& matrix, Index count, std::int64_t value) {
  const Index rows = matrix.dim(0), width = matrix.dim(1);
  Tensor result = Tensor::uninitialized(DType::Int64, {rows, count + width});
  auto* out = result.data<std::int64_t>();
  for (Index r = 0; r < rows; ++r) {
    out = std::fill_n(out, count, value);
    out = std::copy_n(matrix.data<std::int64_t>() + r * width, width, out);
  }
  return result;
}

Tensor Matrix::to_tensor(Shape shape) const {
  if (shape.empty()) shape = {rows(), cols()};
  if (element_count(shape) != rows() * cols() || view_.dtype != DType::Float32) {
    throw InputError(std::string(name_of(view_.dtype)) + " activations of shape " +
                     to_string(Shape{rows(), cols()}) +
                     " cannot become a float32 tensor of shape " + to_string(shape));
  }
  Tensor tensor = Tensor::uninitialized(DType::Float32, std::move(shape));
  if (tensor.empty()) return tensor;
  auto* out = tensor.data<float>();
  for (Index r = 0; r < rows(); ++r) {
    std::memcpy(out + r * cols(), row(r), to_size(cols()) * sizeof(float));
  }
  return tensor;
}

}  // namespace instructblip
