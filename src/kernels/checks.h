// Checks of arguments, shared by the kernels.
#pragma once

#include <string>

#include "instructblip/core/error.h"
#include "instructblip/core/tensor.h"

namespace instructblip {

inline std::string shape_text(MatrixView m) {
  return "[" + std::to_string(m.rows) + ", " + std::to_string(m.cols) + "]";
}

// `what` names the call and the argument: "matmul: x".
inline void check_matrix(const char* what, MatrixView m, Index rows, Index cols) {
  if (m.rows != rows || m.cols != cols) {
    throw InputError(std::string(what) + " is " + shape_text(m) + ", expected [" +
                     std::to_string(rows) + ", " + std::to_string(cols) + "]");
  }
  if (m.dtype != DType::Float32) {
    throw InputError(std::string(what) + " is " + std::string(name_of(m.dtype)) +
                     ", expected float32");
  }
  if (m.rows > 0 && m.cols > 0 && (m.data == nullptr || (m.rows > 1 && m.stride < m.cols))) {
    throw InputError(std::string(what) + " " + shape_text(m) +
                     (m.data == nullptr
                          ? " has no data"
                          : " has overlapping rows: stride " + std::to_string(m.stride)));
  }
}

}  // namespace instructblip
