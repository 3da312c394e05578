// The level "avx2": CPUs with AVX2 and FMA.
#include <immintrin.h>

#include <cstring>

#include "kernels/vector_kernels.h"

namespace instructblip {
namespace {

struct Level : VectorKernels<Level, 8> {
  // 6 x 2 sums.
  static constexpr int kIntegerRows = 6;

  static Lanes multiply_add(const Lanes& a, const Lanes& b, const Lanes& c) {
    Lanes sum;
    _mm256_store_ps(sum.data(), _mm256_fmadd_ps(_mm256_load_ps(a.data()), _mm256_load_ps(b.data()),
                                                _mm256_load_ps(c.data())));
    return sum;
  }
  static float multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  static void sum_lanes(const Lanes& a, const Lanes& b, const Lanes& c, const Lanes& d,
                        float* sums) {
    const auto interleaved_sum = [](const Lanes& first, const Lanes& second) {
      const __m256 x = _mm256_load_ps(first.data()), y = _mm256_load_ps(second.data());
      return _mm256_add_ps(_mm256_unpacklo_ps(x, y), _mm256_unpackhi_ps(x, y));
    };
    const __m256 ab = interleaved_sum(a, b), cd = interleaved_sum(c, d);
    const __m256 both =
        _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    _mm_store_ps(sums, _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1)));
  }
  static void transpose(const float* const* rows, float* to, Index stride) {
    __m256 r[8], t[8];
    for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(rows[i]);
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
      r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
      r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      _mm256_storeu_ps(to + i * stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
      _mm256_storeu_ps(to + (i + 4) * stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
  }
  // Four inputs of four outputs of a vector of weights as 16 bits.
  static __m256i widen_codes(const std::uint8_t* w) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
  }
  // Each output has two sums, of inputs 0 and 1 and of inputs 2 and 3 of every four.
  template <int rows, int bits>
  static void integer_sums(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    constexpr int kVectors = rows <= 2 ? 4 : 2, kInputs = 32 / bits;
    constexpr Index kStep = 4 * kIntegerOutputs;
    for (int first = 0; first < 4; first += kVectors) {
      __m256i total[rows][kVectors];
      for (auto& row : total) {
        for (__m256i& sum : row) sum = _mm256_setzero_si256();
      }
      const std::uint8_t* w = p.codes(begin) + 16 * first;
      const auto add = [&](const __m256i* codes, Index k) __attribute__((always_inline)) {
        unrolled<rows>([&](auto r) __attribute__((always_inline)) {
          std::int64_t four;
          std::memcpy(&four, p.x[r].values + k, sizeof(four));
          const __m256i x = _mm256_set1_epi64x(four);
          unrolled<kVectors>([&](auto v) __attribute__((always_inline)) {
            total[r][v] = _mm256_add_epi32(total[r][v], _mm256_madd_epi16(codes[v], x));
            // In this order: GCC otherwise loads all rows first, for which there are no registers.
            asm volatile("" : "+x"(total[r][v]));
          });
        });
      };
      for (Index k = begin; k < begin + size; k += kInputs, w += kStep) {
        __m256i codes[kVectors];
        unrolled<kVectors>([&](auto v) {
          codes[v] = widen_codes(w + 16 * v);
          if (bits == 4) codes[v] = _mm256_and_si256(codes[v], _mm256_set1_epi16(15));
        });
        add(codes, k);
        if constexpr (bits == 4) {
          unrolled<kVectors>(
              [&](auto v) { codes[v] = _mm256_srli_epi16(widen_codes(w + 16 * v), 4); });
          add(codes, k + 4);
        }
      }
      unrolled<rows * kVectors / 2>([&](auto i) {
        constexpr int r = i / (kVectors / 2), v = i % (kVectors / 2) * 2;
        const __m256i pairs = _mm256_hadd_epi32(total[r][v], total[r][v + 1]);
        _mm256_store_si256(reinterpret_cast<__m256i*>(sums + r * kIntegerOutputs + 4 * (first + v)),
                           _mm256_permute4x64_epi64(pairs, 0xd8));
      });
    }
  }
  // The bytes of the 16 values: first those of the lowest weight.
  struct Book {
    __m256i planes[4];
  };
  static Book book_of(const float* values) {
    alignas(16) std::uint8_t planes[4][16];
    for (int i = 0; i < 16; ++i) {
      const auto bits = std::bit_cast<std::uint32_t>(values[i]);
      for (int p = 0; p < 4; ++p) planes[p][i] = static_cast<std::uint8_t>(bits >> (8 * p));
    }
    Book book;
    for (int p = 0; p < 4; ++p) {
      book.planes[p] =
          _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(planes[p])));
    }
    return book;
  }
  // Each byte of the values is looked up by itself; the bytes are then brought together.
  template <int half>
  static void look_up(const Book& book, const std::uint8_t* codes, float scale,
                      Lanes (&values)[4]) {
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
    const __m256i code =
        _mm256_and_si256(half == 0 ? both : _mm256_srli_epi16(both, 4), _mm256_set1_epi8(15));
    __m256i bytes[4];
    for (int p = 0; p < 4; ++p) bytes[p] = _mm256_shuffle_epi8(book.planes[p], code);
    const __m256i low[2] = {_mm256_unpacklo_epi8(bytes[0], bytes[1]),
                            _mm256_unpackhi_epi8(bytes[0], bytes[1])};
    const __m256i high[2] = {_mm256_unpacklo_epi8(bytes[2], bytes[3]),
                             _mm256_unpackhi_epi8(bytes[2], bytes[3])};
    for (int i = 0; i < 4; ++i) {
      const __m256i bits = i % 2 == 0 ? _mm256_unpacklo_epi16(low[i / 2], high[i / 2])
                                      : _mm256_unpackhi_epi16(low[i / 2], high[i / 2]);
      _mm256_store_ps(values[i].data(),
                      _mm256_mul_ps(_mm256_castsi256_ps(bits), _mm256_set1_ps(scale)));
    }
  }
  static Lanes load_pairs(const std::uint16_t* p, int odd) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    Lanes values;
    _mm256_store_si256(reinterpret_cast<__m256i*>(values.data()),
                       odd != 0 ? _mm256_and_si256(pairs, _mm256_set1_epi32(-65536))
                                : _mm256_slli_epi32(pairs, 16));
    return values;
  }
};

}  // namespace

const KernelTable& avx2_kernels() {
  static constexpr KernelTable table = Level::table("avx2");
  return table;
}

}  // namespace instructblip
