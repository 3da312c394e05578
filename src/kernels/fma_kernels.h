// The dot products of the levels of x86 CPUs with FMA, on registers in place of Eigen's arrays:
// GCC 12 writes such arrays of sums to memory before and after each product.
#pragma once

#include <cstddef>
#include <cstring>

#include "kernels/vector_kernels.h"

namespace instructblip {

template <class Level, int lanes, int terms>
struct FmaKernels : VectorKernels<Level, lanes, terms> {
  using Base = VectorKernels<Level, lanes, terms>;
  using typename Base::Index;
  using typename Base::Lanes;
  using Register [[gnu::vector_size(lanes * sizeof(float))]] = float;

  // In assembly, each sum and value stays in its register: GCC otherwise moves sums around, keeps
  // some in memory and reads a value for every product.
  [[gnu::always_inline]] static void add_product(const Register& a, const Register& b,
                                                 Register& sum) {
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
  [[gnu::always_inline]] static Register load_value(const float* p) {
    Register value;
    std::memcpy(&value, p, sizeof(value));
    asm("" : "+v"(value));
    return value;
  }
  // The weights that are multiplied with this term of x.
  template <int>
  [[gnu::always_inline]] static Register load_weights(const float* p) {
    Register weights;
    std::memcpy(&weights, p, sizeof(weights));
    return weights;
  }

  template <int rows, int outs, int fetched, class Weight>
  [[gnu::always_inline]] static void sum_products(const float* const (&x)[rows],
                                                  const Weight* const (&w)[outs], Index depth,
                                                  const char* const (&next)[fetched + 1],
                                                  Index next_step, Lanes (&sums)[rows][outs]) {
    Register total[rows][outs];
    Base::template unrolled<rows * outs>([&](auto i) __attribute__((always_inline)) {
      total[i / outs][i % outs] = Register{};
    });
    for (Index i = 0, ahead = 0; i < depth; i += lanes, ahead += next_step) {
      for (int o = 0; o < fetched; ++o) __builtin_prefetch(next[o] + ahead, 0, 2);
      // One term after the other, so that a sum does not wait for its other term.
      Base::template unrolled<terms>([&](auto term) __attribute__((always_inline)) {
        Register weight[outs];
        Base::template unrolled<outs>([&](auto o) __attribute__((always_inline)) {
          weight[o] = Level::template load_weights<term>(w[o] + i);
        });
        Base::template unrolled<rows>([&](auto r) __attribute__((always_inline)) {
          const Register value = load_value(x[r] + i * terms + term * lanes);
          Base::template unrolled<outs>([&](auto o) __attribute__((always_inline)) {
            Level::add_product(value, weight[o], total[r][o]);
          });
        });
      });
    }
    Base::template unrolled<rows * outs>([&](auto i) __attribute__((always_inline)) {
      std::memcpy(sums[i / outs][i % outs].data(), &total[i / outs][i % outs], sizeof(Register));
    });
  }
};

}  // namespace instructblip
