// Which function of a level an Activation means.
#pragma once

#include "instructblip/kernels/kernels.h"
#include "kernels/kernel_table.h"

namespace instructblip {

inline void activate_row(const KernelTable& table, Activation activation, float* x, Index count) {
  switch (activation) {
    case Activation::None: return;
    case Activation::Gelu: return table.gelu(x, count);
    case Activation::GeluTanh: return table.gelu_tanh(x, count);
    case Activation::QuickGelu: return table.quick_gelu(x, count);
    case Activation::Relu: return table.relu(x, count);
    case Activation::Silu: return table.silu(x, count);
  }
}

}  // namespace instructblip
