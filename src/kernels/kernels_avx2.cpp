// The level "avx2": CPUs with AVX2 and FMA.
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/fma_kernels.h"

namespace instructblip {
namespace {

// What products of elements and of pairs have in common.
template <class Level, int terms>
struct FloatKernels : FmaKernels<Level, 8, terms> {
  using typename FmaKernels<Level, 8, terms>::Lanes;
  using Index = std::ptrdiff_t;
  // 6 x 2 sums, 2 weights and a value. With fewer rows, as many sums as their additions take.
  static constexpr int kDotRows = 6;
  static constexpr int kSingleTileRows = 6;
  static constexpr Index dot_outputs(Index rows) {
    return rows <= 2 ? 4 : rows <= Level::kThreeOutputRows ? 3 : 2;
  }
  static constexpr Index kFewRowsTiles = 12;

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
  // As sum_lanes adds them.
  static Lanes sum_of_lanes(const float* lanes, Index stride) {
    const auto half = [&](Index i) __attribute__((always_inline)) {
      const auto pair = [&](Index j) __attribute__((always_inline)) {
        return _mm256_add_ps(_mm256_loadu_ps(lanes + j * stride),
                             _mm256_loadu_ps(lanes + (j + 2) * stride));
      };
      return _mm256_add_ps(pair(i), pair(i + 1));
    };
    Lanes sum;
    _mm256_store_ps(sum.data(), _mm256_add_ps(half(0), half(4)));
    return sum;
  }
};

struct Level : FloatKernels<Level, 1> {
  static constexpr Index kThreeOutputRows = 4;
  static constexpr Index kTransposedRows = 12;
  // 6 x 2 sums.
  static constexpr int kIntegerRows = 6;

  using FloatKernels::load_weights;
  template <int>
  static __m256 load_weights(const std::uint16_t* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }

  // Transposes, for every 128 bits of `rows`, four rows of four elements of 32 bits: row i of
  // `columns` is column i of both.
  static void transpose_halves(const __m256i (&rows)[4], __m256i (&columns)[4]) {
    const __m256i a = _mm256_unpacklo_epi32(rows[0], rows[1]);
    const __m256i b = _mm256_unpackhi_epi32(rows[0], rows[1]);
    const __m256i c = _mm256_unpacklo_epi32(rows[2], rows[3]);
    const __m256i d = _mm256_unpackhi_epi32(rows[2], rows[3]);
    columns[0] = _mm256_unpacklo_epi64(a, c), columns[1] = _mm256_unpackhi_epi64(a, c);
    columns[2] = _mm256_unpacklo_epi64(b, d), columns[3] = _mm256_unpackhi_epi64(b, d);
  }
  // 16 bytes of row i, and of row i + 4.
  static __m256i load_halves(const void* first, const void* second) {
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(first))),
        _mm_loadu_si128(static_cast<const __m128i*>(second)), 1);
  }
  static void store_integers(float* p, const __m256i& values) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), values);
  }
  static void transpose(const float* const* rows, float* to, Index stride) {
    transpose_lanes(rows, 0, to, 0, stride);
  }
  static void transpose_lanes(const float* const* rows, Index begin, float* to, Index /*width*/,
                              Index stride) {
    for (Index k = begin; k < begin + 8; k += 4, to += 4 * stride) {
      __m256i halves[4], columns[4];
      for (int i = 0; i < 4; ++i) halves[i] = load_halves(rows[i] + k, rows[i + 4] + k);
      transpose_halves(halves, columns);
      for (int i = 0; i < 4; ++i) store_integers(to + i * stride, columns[i]);
    }
  }
  template <int rows, int bits>
  static void integer_sums(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    p.x_bits == 8 ? byte_sums<rows, bits>(p, begin, size, sums)
                  : word_sums<rows, bits>(p, begin, size, sums);
  }

  // Four inputs of eight outputs as 16 bits: of outputs 0 to 3 and 4 to 7, or, with fewer
  // instructions for 4 bits, of outputs 0, 1, 4, 5 and 2, 3, 6, 7.
  template <int bits, bool in_order>
  [[gnu::always_inline]] static void widen_codes(const std::uint8_t* w, Index four,
                                                 __m256i* codes) {
    if constexpr (in_order) {
      for (int i = 0; i < 2; ++i) {
        const auto* const from = reinterpret_cast<const __m128i*>(w) + i;
        codes[i] = _mm256_cvtepu8_epi16(_mm_loadu_si128(from));
        if (bits == 8) continue;
        codes[i] = four % 2 == 0 ? _mm256_and_si256(codes[i], _mm256_set1_epi16(15))
                                 : _mm256_srli_epi16(codes[i], 4);
      }
    } else {
      const __m256i bytes = load_codes<bits>(w, four);
      codes[0] = _mm256_unpacklo_epi8(bytes, _mm256_setzero_si256());
      codes[1] = _mm256_unpackhi_epi8(bytes, _mm256_setzero_si256());
    }
  }

  // With numbers of 16 bits. Each output has two sums, of inputs 0 and 1 and of inputs 2 and 3 of
  // every four.
  template <int rows, int bits>
  static void word_sums(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    constexpr int kVectors = rows <= 2 ? 4 : 2;
    constexpr Index kStep = 4 * kIntegerOutputs;
    constexpr bool kInOrder = bits == 8 || rows == 1;
    const std::uint8_t* next = p.next + (p.codes(begin) - p.w) / kStep * p.next_step;
    for (int first = 0; first < 4; first += kVectors) {
      __m256i total[rows][kVectors];
      for (auto& row : total) {
        for (__m256i& sum : row) sum = _mm256_setzero_si256();
      }
      const std::uint8_t* w = p.codes(begin) + 16 * first;
      for (Index k = begin; k < begin + size; w += kStep) {
        if constexpr (rows == 1 && bits == 4) {
          _mm_prefetch(next, _MM_HINT_T1);
          _mm_prefetch(w + Level::kNearBytes, _MM_HINT_T0);
          next += p.next_step;
        }
        for (Index four = 0; four < 8 / bits; ++four, k += 4) {
          __m256i codes[kVectors];
          unrolled<kVectors / 2>([&](auto i) __attribute__((always_inline)) {
            widen_codes<bits, kInOrder>(w + 32 * i, four, codes + 2 * i);
          });
          unrolled<rows>([&](auto r) __attribute__((always_inline)) {
            std::int64_t inputs;
            std::memcpy(&inputs, p.x[r].values + k, sizeof(inputs));
            const __m256i x = _mm256_set1_epi64x(inputs);
            unrolled<kVectors>([&](auto v) __attribute__((always_inline)) {
              total[r][v] = _mm256_add_epi32(total[r][v], _mm256_madd_epi16(codes[v], x));
              // In this order: GCC otherwise loads all rows first, for which there are no
              // registers.
              asm volatile("" : "+x"(total[r][v]));
            });
          });
        }
      }
      unrolled<rows * kVectors / 2>([&](auto i) {
        constexpr int r = i / (kVectors / 2), v = i % (kVectors / 2) * 2;
        __m256i pairs = _mm256_hadd_epi32(total[r][v], total[r][v + 1]);
        if constexpr (kInOrder) pairs = _mm256_permute4x64_epi64(pairs, 0xd8);
        _mm256_store_si256(reinterpret_cast<__m256i*>(sums + r * kIntegerOutputs + 4 * (first + v)),
                           pairs);
      });
    }
  }

  // With numbers of 8 bits, `vpmaddubsw` adds two products in 16 bits, which is exact as long as
  // two inputs are not more than this together. What exceeds it, which is little (the largest input
  // of a row is 127), stands in a list behind the bytes of a block.
  static constexpr int kMostPair = 128;
  static_assert(kMostPair * 255 <= 32767);
  struct Excess {
    std::int32_t four;  // of the inputs from 4 * four on
    std::int8_t values[4];
  };
  class ExcessList {
   public:
    // Of a block of `width` inputs. As many bytes are behind it.
    ExcessList(std::int8_t* bytes, Index width)
        : count_(bytes + width),
          items_(count_ + sizeof(std::int32_t)),
          capacity_((width - static_cast<Index>(sizeof(std::int32_t))) /
                    static_cast<Index>(sizeof(Excess))) {}

    Index capacity() const { return capacity_; }
    // Instead of a count: there are more than `capacity`, and the bytes are the inputs themselves.
    static constexpr std::int32_t kTooMany = -1;
    std::int32_t count() const {
      std::int32_t count;
      std::memcpy(&count, count_, sizeof(count));
      return count;
    }
    void set_count(std::int32_t count) { std::memcpy(count_, &count, sizeof(count)); }
    Excess item(Index i) const {
      Excess item;
      std::memcpy(&item, items_ + i * static_cast<Index>(sizeof(item)), sizeof(item));
      return item;
    }
    void set_item(Index i, const Excess& item) {
      std::memcpy(items_ + i * static_cast<Index>(sizeof(item)), &item, sizeof(item));
    }

   private:
    std::int8_t* count_;
    std::int8_t* items_;
    Index capacity_;
  };

  // Bit i: whether a pair among the bytes 4 i to 4 i + 3 exceeds kMostPair.
  static unsigned exceeding(const std::int8_t* bytes) {
    const __m256i pairs = _mm256_maddubs_epi16(
        _mm256_set1_epi8(1), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
    const __m256i exceed =
        _mm256_cmpgt_epi16(_mm256_abs_epi16(pairs), _mm256_set1_epi16(kMostPair));
    const __m256i fits = _mm256_cmpeq_epi32(exceed, _mm256_setzero_si256());
    return ~static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(fits))) & 255;
  }

  static std::int32_t round_block(const float* x, Index count, Index width, int bits,
                                  const Rounding& rounding, std::int16_t* to) {
    if (bits != 8) return Integers::round_block(x, count, width, bits, rounding, to);
    auto* const bytes = reinterpret_cast<std::int8_t*>(to);
    const std::int32_t sum = Integers::round_and_fill(x, count, width, rounding, bytes);
    split_bytes(bytes, width);
    return sum;
  }
  // Moves what exceeds kMostPair to the list behind a block.
  static void split_bytes(std::int8_t* bytes, Index width) {
    ExcessList list(bytes, width);
    Index count = 0;
    for (Index i = 0; i < width; i += 32) count += std::popcount(exceeding(bytes + i));
    if (count > list.capacity()) return list.set_count(ExcessList::kTooMany);
    list.set_count(static_cast<std::int32_t>(count));
    count = 0;
    for (Index i = 0; i < width; i += 32) {
      for (unsigned left = exceeding(bytes + i); left != 0; left &= left - 1) {
        const Index four = i / 4 + std::countr_zero(left);
        list.set_item(count++, split_four(four, bytes + 4 * four));
      }
    }
  }
  // Takes the excess out of four bytes.
  static Excess split_four(Index four, std::int8_t* bytes) {
    Excess excess{static_cast<std::int32_t>(four), {}};
    for (int i = 0; i < 4; i += 2) {
      const int pair = bytes[i] + bytes[i + 1];
      excess.values[i] = static_cast<std::int8_t>(pair - std::clamp(pair, -kMostPair, kMostPair));
      bytes[i] = static_cast<std::int8_t>(bytes[i] - excess.values[i]);
    }
    return excess;
  }

  static std::int8_t* bytes_of(const IntegerRow& row, Index begin) {
    return reinterpret_cast<std::int8_t*>(const_cast<std::int16_t*>(row.values + begin));
  }
  // Four bytes, repeated.
  static __m256i repeated(const std::int8_t* four) {
    std::int32_t bits;
    std::memcpy(&bits, four, sizeof(bits));
    return _mm256_set1_epi32(bits);
  }
  // The sums of the products of four inputs, for eight outputs.
  static __m256i multiply_bytes(const __m256i& codes, const __m256i& x) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), _mm256_set1_epi16(1));
  }
  // The codes of inputs 0 to 3 or, of 4 bits, also 4 to 7, of eight outputs.
  template <int bits>
  static __m256i load_codes(const std::uint8_t* w, Index four) {
    const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
    if (bits == 8) return codes;
    return _mm256_and_si256(four % 2 == 0 ? codes : _mm256_srli_epi16(codes, 4),
                            _mm256_set1_epi8(15));
  }

  template <int rows, int bits>
  static void byte_sums(const IntegerProduct& p, Index begin, Index size, std::int32_t* sums) {
    constexpr Index kStep = 4 * kIntegerOutputs, kFours = 8 / bits;
    const std::int8_t* x[rows];
    for (int r = 0; r < rows; ++r) x[r] = bytes_of(p.x[r], begin);
    __m256i total[rows][2];
    for (auto& row : total) row[0] = row[1] = _mm256_setzero_si256();
    const std::uint8_t* w = p.codes(begin);
    for (Index k = 0; k < size; w += kStep) {
      for (Index four = 0; four < kFours; ++four, k += 4) {
        const __m256i first = load_codes<bits>(w, four), second = load_codes<bits>(w + 32, four);
        unrolled<rows>([&](auto r) __attribute__((always_inline)) {
          const __m256i values = repeated(x[r] + k);
          total[r][0] = _mm256_add_epi32(total[r][0], multiply_bytes(first, values));
          asm volatile("" : "+x"(total[r][0]));
          total[r][1] = _mm256_add_epi32(total[r][1], multiply_bytes(second, values));
          asm volatile("" : "+x"(total[r][1]));
        });
      }
    }
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      auto* const to = reinterpret_cast<__m256i*>(sums + r * kIntegerOutputs);
      _mm256_store_si256(to, total[r][0]);
      _mm256_store_si256(to + 1, total[r][1]);
    });
    for (int r = 0; r < rows; ++r) {
      add_excess<bits>(p, p.x[r], begin, size, sums + r * kIntegerOutputs);
    }
  }

  template <int bits>
  static void add_excess(const IntegerProduct& p, const IntegerRow& row, Index begin, Index size,
                         std::int32_t* sums) {
    const ExcessList list(bytes_of(row, begin), size);
    const std::int32_t count = list.count();
    if (count == 0) return;
    if (count == ExcessList::kTooMany) return widened_sums<bits>(p, row, begin, size, sums);
    auto* const to = reinterpret_cast<__m256i*>(sums);
    for (Index i = 0; i < count; ++i) {
      const Excess excess = list.item(i);
      const __m256i values = repeated(excess.values);
      const std::uint8_t* const w = p.codes(begin + excess.four / (8 / bits) * (32 / bits));
      for (int v = 0; v < 2; ++v) {
        to[v] = _mm256_add_epi32(to[v],
                                 multiply_bytes(load_codes<bits>(w + 32 * v, excess.four), values));
      }
    }
  }

  // The sums of a row, with numbers of 16 bits in place of 8.
  template <int bits>
  static void widened_sums(const IntegerProduct& p, const IntegerRow& row, Index begin, Index size,
                           std::int32_t* sums) {
    constexpr Index kPart = 512;
    std::int16_t words[kPart];
    const IntegerRow widened{words, nullptr, nullptr};
    IntegerProduct part = p;
    part.x = &widened;
    std::fill_n(sums, kIntegerOutputs, 0);
    for (Index k = 0; k < size; k += kPart) {
      const Index count = std::min(kPart, size - k);
      std::copy_n(bytes_of(row, begin) + k, count, words);
      part.w = p.codes(begin + k);
      alignas(32) std::int32_t part_sums[kIntegerOutputs];
      word_sums<1, bits>(part, 0, count, part_sums);
      for (Index o = 0; o < kIntegerOutputs; ++o) sums[o] += part_sums[o];
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

// Two weights in bfloat16 are an element, and two values of x its terms. Widening both takes less
// than reading every weight into an element of its own.
struct PairLevel : FloatKernels<PairLevel, 2> {
  // A mask takes a register, too.
  static constexpr Index kThreeOutputRows = 3;
  static constexpr Index kTransposedRows = 17;

  template <int term>
  static __m256 load_weights(const float* p) {
    return _mm256_castsi256_ps(
        widen<term>(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
  }
  template <int term>
  static __m256i widen(const __m256i& pairs) {
    return term == 0 ? _mm256_slli_epi32(pairs, 16)
                     : _mm256_and_si256(pairs, _mm256_set1_epi32(-65536));
  }
  static void transpose_lanes(const float* const* rows, Index begin, float* to, Index width,
                              Index lane_stride) {
    for (Index k = begin; k < begin + 8; k += 4, to += 4 * lane_stride) {
      __m256i halves[4], pairs[4];
      for (int i = 0; i < 4; ++i) halves[i] = Level::load_halves(rows[i] + k, rows[i + 4] + k);
      Level::transpose_halves(halves, pairs);
      for (int i = 0; i < 4; ++i) {
        Level::store_integers(to + i * lane_stride, widen<0>(pairs[i]));
        Level::store_integers(to + i * lane_stride + width, widen<1>(pairs[i]));
      }
    }
  }
  // First the first values of eight pairs, then the second ones.
  static void to_terms(const float* x, Index count, float* to) {
    Index i = 0;
    for (; i + 16 <= count; i += 16) {
      const __m256 first = _mm256_loadu_ps(x + i), second = _mm256_loadu_ps(x + i + 8);
      const auto in_order = [](__m256 values) {
        return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(values), 0xd8));
      };
      _mm256_storeu_ps(to + i, in_order(_mm256_shuffle_ps(first, second, 0x88)));
      _mm256_storeu_ps(to + i + 8, in_order(_mm256_shuffle_ps(first, second, 0xdd)));
    }
    if (i == count) return;
    std::fill_n(to + i, 16, 0.0f);
    for (Index j = i; j < count; ++j) to[i + (j - i) / 2 + (j - i) % 2 * 8] = x[j];
  }
  // Weights are widened as they are transposed.
  static constexpr VectorProducts products() {
    VectorProducts products = FloatKernels::products();
    products.panels = Level::panels;
    return products;
  }
};

constexpr PairKernels kExactPairs{.products = PairLevel::products(),
                                  .to_terms = PairLevel::to_terms};

}  // namespace

const KernelTable& avx2_kernels() {
  static constexpr KernelTable table = [] {
    KernelTable avx2 = Level::table("avx2");
    avx2.exact_pairs = &kExactPairs;
    return avx2;
  }();
  return table;
}

}  // namespace instructblip
