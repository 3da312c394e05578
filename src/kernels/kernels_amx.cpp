// The level "amx": CPUs that multiply bfloat16 matrices in tiles (Intel AMX, "Intel Architecture
// Instruction Set Extensions Programming Reference", chapter 3). Everything else is the level
// avx512's (dispatch.cpp).
#include <immintrin.h>

#include <algorithm>
#include <type_traits>

#include "kernels/avx512_registers.h"
#include "kernels/avx512_split.h"
#include "kernels/tile_kernels.h"

namespace instructblip {

const IntegerKernels& avx512_vnni_integers();  // kernels_avx512_vnni.cpp

namespace {

using Index = std::ptrdiff_t;

// Tile registers: 0 to 3 are the sums of tile i of A and tile j of B (2 i + j, or j if there is one
// tile of A), 4 and 5 the tiles of A, or a tile of A and its low part, 6 and 7 those of B, two at a
// time. GCC's functions take numbers of registers only as literals, hence those in assembly.

// `passes`: the tile is not to stay in the first-level cache.
template <int tile, bool passes>
[[gnu::always_inline]] inline void load(const void* p, std::size_t stride) {
  if constexpr (passes) {
    asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "n"(tile));
  } else {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "n"(tile));
  }
}

template <int sum, int a, int b>
[[gnu::always_inline]] inline void add_product() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "n"(sum), "n"(a), "n"(b));
}

// The operand of LDTILECFG.
struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

// Rows of the tiles of A for sums 0 and 1 and for sums 2 and 3, and columns of each tile of B, a
// byte each: one comparison says whether they are configured.
using TileShape = std::uint32_t;
constexpr TileShape tile_shape(Index rows, Index other_rows, Index columns) {
  return static_cast<TileShape>(rows | other_rows << 8 | columns << 16);
}
thread_local TileShape configured;

[[gnu::noinline]] void load_configuration(TileShape shape) {
  TileConfiguration configuration;
  const auto set = [&](int tile, unsigned rows, unsigned row_bytes) {
    configuration.rows[tile] = static_cast<std::uint8_t>(rows);
    configuration.row_bytes[tile] = static_cast<std::uint16_t>(row_bytes);
  };
  const unsigned columns = shape >> 16;
  for (int i = 0; i < 2; ++i) {
    const unsigned rows = shape >> (8 * i) & 0xff;
    set(4 + i, rows, 2 * kTileDepth);
    for (int j = 0; j < 2; ++j) set(2 * i + j, rows, 4 * columns);
    set(6 + i, kTileDepth / 2, 4 * columns);
  }
  // GCC 12's function reads only 8 bytes in the compiler's eyes, which then leaves out the others.
  asm volatile("" : : "r"(&configuration) : "memory");
  _tile_loadconfig(&configuration);
  configured = shape;
}

void configure(TileShape shape) {
  if (configured != shape) load_configuration(shape);
}

void begin() { configured = 0; }

void end() {
  _tile_release();
  configured = 0;
}

#define INSTRUCTBLIP_EACH_SUM(operation)                          \
  operation(0, p.sums);                                           \
  if constexpr (a_tiles == 2 || b_tiles > 2) operation(2, third); \
  if constexpr (b_tiles > 1) operation(1, p.sums + columns);      \
  if constexpr ((a_tiles == 2 && b_tiles == 2) || b_tiles == 4) operation(3, third + columns);

// Consecutive products go to different sums, because a sum is ready only after three more.
template <int a_tiles, int b_tiles, bool a_passes>
void multiply_tiles(const TileProduct& p) {
  const Index columns = p.columns;
  const auto sums_bytes = static_cast<std::size_t>(p.sums_stride) * sizeof(float);
  const auto a_bytes = static_cast<std::size_t>(p.a_stride) * sizeof(std::uint16_t);
  const auto b_bytes = static_cast<std::size_t>(p.b_stride) * sizeof(std::uint16_t);
  const Index b_step = kTileDepth / 2 * p.b_stride;
  static_assert(a_tiles == 1 || b_tiles <= 2);
  constexpr std::integral_constant<int, 0> kFirst;
  constexpr std::integral_constant<int, 2> kThird;
  constexpr std::integral_constant<int, 4> kA;
  constexpr std::integral_constant<int, 5> kOtherA;
  float* const third = p.sums + (a_tiles == 2 ? kTileSize * p.sums_stride : 2 * columns);
  if (p.first) {
#define INSTRUCTBLIP_ZERO(tile, address) _tile_zero(tile)
    INSTRUCTBLIP_EACH_SUM(INSTRUCTBLIP_ZERO)
  } else {
#define INSTRUCTBLIP_LOAD(tile, address) _tile_loadd(tile, address, sums_bytes)
    INSTRUCTBLIP_EACH_SUM(INSTRUCTBLIP_LOAD)
  }
  const auto load_b = [&](auto first, const std::uint16_t* b) __attribute__((always_inline)) {
    b += first / 2 * p.b_third;
    load<6, !a_passes>(b, b_bytes);
    if constexpr (first + 1 < b_tiles) load<7, !a_passes>(b + p.b_next, b_bytes);
  };
  // Adds the products of two tiles of A.
  const auto add_both = [&]() __attribute__((always_inline)) {
    add_product<0, kA, 6>();
    add_product<2, kOtherA, 6>();
    if constexpr (b_tiles > 1) {
      add_product<1, kA, 7>();
      add_product<3, kOtherA, 7>();
    }
  };
  // Adds those of the tile of A in register `a` to sums `first` and the next one.
  const auto add = [&](auto first, auto a) __attribute__((always_inline)) {
    add_product<first, a, 6>();
    if constexpr (first + 1 < b_tiles) add_product<first + 1, a, 7>();
  };
  const std::uint16_t *a = p.a, *a_low = p.a_low, *b = p.b, *b_low = p.b_low;
  const char* next_sums = reinterpret_cast<const char*>(p.next_sums);
  const char* const sums_end = next_sums == nullptr ? nullptr : next_sums + p.rows * sums_bytes;
  const Index sums_step = (p.rows * kTileDepth + p.depth - 1) / p.depth;
  for (Index k = 0; k < p.depth; k += kTileDepth) {
    for (Index row = 0; row < sums_step && next_sums != sums_end; ++row) {
      for (Index tile = 0; tile < b_tiles; ++tile) __builtin_prefetch(next_sums + 64 * tile, 1);
      next_sums += sums_bytes;
    }
    for (Index row = 0; row < p.next_rows; ++row) {
      const Index i = row * p.next_stride + k / kTileDepth * p.next_step;
      _mm_prefetch(reinterpret_cast<const char*>(p.next + i), _MM_HINT_T1);
    }
    if constexpr (a_tiles == 1) {
      load<kA, a_passes>(a, a_bytes);
      if (a_low != nullptr) load<kOtherA, a_passes>(a_low, a_bytes);
      const auto add_tiles = [&](auto first) __attribute__((always_inline)) {
        load_b(first, b);
        add(first, kA);
        if (b_low != nullptr) {
          load_b(first, b_low);
          add(first, kA);
          if (a_low != nullptr) load_b(first, b);
        }
        if (a_low != nullptr) add(first, kOtherA);
      };
      add_tiles(kFirst);
      if constexpr (b_tiles > 2) add_tiles(kThird);
    } else {
      load<kA, a_passes>(a, a_bytes);
      load<kOtherA, a_passes>(a + p.a_next, a_bytes);
      load_b(kFirst, b);
      add_both();
      if (b_low != nullptr) {
        load_b(kFirst, b_low);
        add_both();
      }
      if (a_low != nullptr) {
        if (b_low != nullptr) load_b(kFirst, b);
        load<kA, a_passes>(a_low, a_bytes);
        load<kOtherA, a_passes>(a_low + p.a_next, a_bytes);
        add_both();
      }
    }
    if (b_low != nullptr) b_low += b_step;
    if (a_low != nullptr) a_low += p.a_step;
    a += p.a_step;
    b += b_step;
  }
#define INSTRUCTBLIP_STORE(tile, address) _tile_stored(tile, address, sums_bytes)
  INSTRUCTBLIP_EACH_SUM(INSTRUCTBLIP_STORE)
}

template <bool a_passes>
void multiply_any(const TileProduct& p) {
  if (p.rows > kTileSize) {
    return p.b_tiles == 2 ? multiply_tiles<2, 2, a_passes>(p) : multiply_tiles<2, 1, a_passes>(p);
  }
  switch (p.b_tiles) {
    case 1: return multiply_tiles<1, 1, a_passes>(p);
    case 2: return multiply_tiles<1, 2, a_passes>(p);
    case 3: return multiply_tiles<1, 3, a_passes>(p);
    default: return multiply_tiles<1, 4, a_passes>(p);
  }
}

void multiply(const TileProduct& p) {
  const Index first = std::min(p.rows, kTileSize);
  // Tiles that are not used have a valid shape, too.
  configure(tile_shape(first, p.rows > kTileSize ? p.rows - kTileSize : first, p.columns));
  p.a_passes ? multiply_any<true>(p) : multiply_any<false>(p);
}

void transpose(const float* from, Index from_stride, float* to, Index to_stride) {
  __m512i rows[16];
  for (int i = 0; i < 16; ++i) rows[i] = _mm512_loadu_si512(from + i * from_stride);
  transpose_rows(rows);
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * to_stride, rows[i]);
}

__m512i join(__m256bh first, __m256bh second) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(reinterpret_cast<__m256i>(first)),
                            reinterpret_cast<__m256i>(second), 1);
}

void store_tile(__m512i (&pairs)[16], Index columns, std::uint16_t* to) {
  transpose_rows(pairs);
  const __mmask16 mask = first_lanes(columns);
  for (int k = 0; k < 16; ++k) _mm512_mask_storeu_epi32(to + k * 2 * columns, mask, pairs[k]);
}

void pack(const float* x, Index x_stride, Index rows, Index columns, Index count,
          std::uint16_t* high, std::uint16_t* low) {
  for (Index k = 0; k < count; k += kTileDepth) {
    __m512i high_pairs[16] = {}, low_pairs[16] = {};
    for (Index row = 0; row < rows; ++row) {
      const __m512 first = load_part(x + row * x_stride, k, count);
      const __m512 second = load_part(x + row * x_stride, k + 16, count);
      const __m256bh first_high = _mm512_cvtneps_pbh(first);
      const __m256bh second_high = _mm512_cvtneps_pbh(second);
      high_pairs[row] = join(first_high, second_high);
      low_pairs[row] = join(low_part(first, first_high), low_part(second, second_high));
    }
    store_tile(high_pairs, columns, high + k * columns);
    if (low != nullptr) store_tile(low_pairs, columns, low + k * columns);
  }
}

// The tile is written front to back: its rows are too far apart for the CPU to fetch them ahead.
void split_rows(const float* x, Index x_stride, Index rows, Index count, std::uint16_t* high,
                std::uint16_t* low) {
  constexpr Index kWidth = 2 * kTileDepth;
  constexpr Index kStep = kTileSize * kTileDepth;
  for (Index k = 0; k < count; k += kWidth) {
    for (Index row = 0; row < rows; ++row) {
      const Index i = k * kTileSize + row * kTileDepth;
      split(x + row * x_stride + k, std::min(kWidth, count - k), kStep, high + i,
            low == nullptr ? nullptr : low + i);
    }
  }
}

// Products of integers have two tiles of outputs; where there is but one, or a last tile of rows,
// it stands for the second one, too. Whole tiles of rows are read, and sums of rows that are not
// there are not used. Tiles 0 to 3 are the sums, 4 and 5 those of x, 6 and 7 those of the codes.
constexpr Index kSumsWidth = kMostIntegerTiles * kIntegerOutputs;
constexpr Index kSumsBytes = kSumsWidth * static_cast<Index>(sizeof(std::int32_t));
// The inputs of a step of the tiles, and of codes that stay in the first-level cache while x
// passes.
constexpr Index kByteDepth = 64, kByteBlock = 12 * kByteDepth;

// The codes of the inputs [begin, begin + size): one tile after the other.
struct Codes {
  const std::uint8_t* tiles[kMostIntegerTiles];
  Index begin, size;
};
using UnpackedCodes = std::uint8_t[kMostIntegerTiles][kByteBlock * kIntegerOutputs];

// Codes of 8 bits are tiles as they lie.
Codes codes_of(const IntegerProduct& p, Index begin, Index size, UnpackedCodes& unpacked) {
  const std::uint8_t* const first = p.codes(begin);
  const std::uint8_t* const second = p.tiles > 1 ? first + p.next_tile : first;
  if (p.bits == 8) return {{first, second}, begin, size};
  const __m512i mask = _mm512_set1_epi8(15);
  for (Index tile = 0; tile < p.tiles; ++tile) {
    const std::uint8_t* const from = tile == 0 ? first : second;
    std::uint8_t* const to = unpacked[tile];
    for (Index i = 0; i < size * kIntegerOutputs; i += 128) {
      const __m512i pairs = _mm512_loadu_si512(from + i / 2);
      _mm512_store_si512(to + i, _mm512_and_si512(pairs, mask));
      _mm512_store_si512(to + i + 64, _mm512_and_si512(_mm512_srli_epi16(pairs, 4), mask));
    }
  }
  return {{unpacked[0], unpacked[p.tiles > 1 ? 1 : 0]}, begin, size};
}

// The bytes of a row from the block on that begins with input `begin`.

// Brings the codes of the next tiles of outputs into the second-level cache, with equal parts in
// all steps of a product.
class NextCodes {
 public:
  NextCodes(const IntegerProduct& p, Index rows_per_step)
      : next_(p.next), tile_bytes_(p.next_tile), tiles_(p.tiles) {
    const Index bytes = p.depth * kIntegerOutputs * p.bits / 8;
    const Index vectors = bytes / kLine, part = vectors * p.next_step / kLine;
    const Index steps = (p.rows + rows_per_step - 1) / rows_per_step * (p.depth / kByteDepth);
    lines_ = (part + steps - 1) / steps;
    end_ = next_ + part * kLine;
  }

  void fetch() {
    for (Index line = 0; line < lines_ && next_ < end_; ++line, next_ += kLine) {
      for (Index tile = 0; tile < tiles_; ++tile)
        _mm_prefetch(reinterpret_cast<const char*>(next_ + tile * tile_bytes_), _MM_HINT_T1);
    }
  }

 private:
  static constexpr Index kLine = 64;
  const std::uint8_t* next_;
  const std::uint8_t* end_;
  Index tile_bytes_, tiles_, lines_;
};

void add_products(const Codes& codes, const std::int8_t* x, const std::int8_t* second_x,
                  Index stride, NextCodes& next) {
  for (Index k = 0; k < codes.size; k += kByteDepth) {
    next.fetch();
    _tile_loadd(6, codes.tiles[0] + k * kIntegerOutputs, 64);
    _tile_loadd(7, codes.tiles[1] + k * kIntegerOutputs, 64);
    _tile_stream_loadd(4, x + k, stride);
    _tile_stream_loadd(5, second_x + k, stride);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(2, 5, 6);
    _tile_dpbsud(1, 4, 7);
    _tile_dpbsud(3, 5, 7);
  }
}

void zero_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

void load_sums(const std::int32_t* first, const std::int32_t* second) {
  _tile_loadd(0, first, kSumsBytes);
  _tile_loadd(1, first + kIntegerOutputs, kSumsBytes);
  _tile_loadd(2, second, kSumsBytes);
  _tile_loadd(3, second + kIntegerOutputs, kSumsBytes);
}

void store_sums(std::int32_t* first, std::int32_t* second) {
  _tile_stored(0, first, kSumsBytes);
  _tile_stored(1, first + kIntegerOutputs, kSumsBytes);
  _tile_stored(2, second, kSumsBytes);
  _tile_stored(3, second + kIntegerOutputs, kSumsBytes);
}

// A block of inputs of a product.
struct Block {
  Block(const IntegerProduct& p, Index index)
      : product(p), index(index), has_zeros(p.zero_points != nullptr) {
    for (Index tile = 0; tile < p.tiles; ++tile) {
      const Index first = index / p.blocks_per_group * kIntegerOutputs + tile * p.next_tile_groups;
      scales[tile] = _mm512_loadu_ps(p.scales + first);
      if (!has_zeros) continue;
      zeros[tile] = _mm512_cvtepu8_epi32(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(p.zero_points + first)));
    }
  }

  const IntegerProduct& product;
  const Index index;
  const bool has_zeros;
  __m512 scales[kMostIntegerTiles];
  __m512i zeros[kMostIntegerTiles];
};

// Adds the sums of a block of `rows` rows to those of the product; kernels_avx512_vnni.cpp says
// what the high and low bytes of numbers of 16 bits are. Numbers of 8 bits have low ones alone.
template <bool has_high>
void add_sums(const Block& block, Index first_row, Index rows, const std::int32_t* high,
              const std::int32_t* low) {
  const IntegerProduct& p = block.product;
  const Index tiles = p.tiles;
  const bool is_first = block.index == 0;
  const int middle = p.middle();
  for (Index r = 0; r < rows; ++r) {
    const IntegerRow& x = p.x[first_row + r];
    const int x_sum = x.sums[block.index];
    const __m512 x_scale = _mm512_set1_ps(x.scales[block.index]);
    float* const to = p.sums + (first_row + r) * p.sums_stride;
    for (Index tile = 0; tile < tiles; ++tile) {
      const Index i = tile * kIntegerOutputs;
      __m512i sum = _mm512_load_si512(low + r * kSumsWidth + i);
      if constexpr (has_high) {
        const __m512i high_sum = _mm512_load_si512(high + r * kSumsWidth + i);
        sum = _mm512_add_epi32(_mm512_slli_epi32(high_sum, 8), sum);
      }
      const __m512i zero = block.has_zeros
                               ? _mm512_mullo_epi32(block.zeros[tile], _mm512_set1_epi32(x_sum))
                               : _mm512_set1_epi32(middle * x_sum);
      const __m512 value = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, zero));
      const __m512 term = _mm512_mul_ps(value, _mm512_mul_ps(x_scale, block.scales[tile]));
      const __m512 total = is_first ? _mm512_setzero_ps() : _mm512_loadu_ps(to + i);
      _mm512_storeu_ps(to + i, _mm512_add_ps(total, term));
    }
  }
}

// A block of numbers of 16 bits: a tile of rows has one of high and one of low bytes. The sums of a
// tile are added while the next one is multiplied.
void add_words(const Block& block, const Codes& codes, Index stride, NextCodes& next) {
  const IntegerProduct& p = block.product;
  alignas(64) std::int32_t high[2][kTileSize * kSumsWidth], low[2][kTileSize * kSumsWidth];
  const auto add_last = [&](Index end) {
    const Index first = (end - 1) / kTileSize * kTileSize;
    const int last = first / kTileSize % 2;
    add_sums<true>(block, first, end - first, high[last], low[last]);
  };
  for (Index r = 0; r < p.rows; r += kTileSize) {
    const std::int8_t* const x = p.x[r].bytes(codes.begin);
    const int current = r / kTileSize % 2;
    zero_sums();
    add_products(codes, x, x + codes.size, stride, next);
    store_sums(high[current], low[current]);
    if (r > 0) add_last(r);
  }
  add_last(p.rows);
}

// A block of numbers of 8 bits.
void add_bytes(const Block& block, Index begin, Index size, Index stride, NextCodes& next) {
  const IntegerProduct& p = block.product;
  alignas(64) std::int32_t sums[kMostIntegerRows * kSumsWidth];
  alignas(64) UnpackedCodes unpacked;
  for (Index k = 0; k < size; k += kByteBlock) {
    const Codes codes = codes_of(p, begin + k, std::min(kByteBlock, size - k), unpacked);
    for (Index r = 0; r < p.rows; r += 2 * kTileSize) {
      const Index second = r + kTileSize < p.rows ? r + kTileSize : r;
      std::int32_t* const first_sums = sums + r * kSumsWidth;
      std::int32_t* const second_sums = sums + second * kSumsWidth;
      k == 0 ? zero_sums() : load_sums(first_sums, second_sums);
      add_products(codes, p.x[r].bytes(begin) + k, p.x[second].bytes(begin) + k, stride, next);
      store_sums(first_sums, second_sums);
    }
  }
  add_sums<false>(block, 0, p.rows, nullptr, sums);
}

void integer_tile_product(const IntegerProduct& p) {
  alignas(64) UnpackedCodes unpacked;
  const Index stride = p.x[1].bytes(0) - p.x[0].bytes(0);
  begin();
  const Index rows = std::min(kTileSize, p.rows);
  configure(tile_shape(rows, rows, kIntegerOutputs));
  NextCodes next(p, p.x_bits == 16 ? kTileSize : 2 * kTileSize);
  for (Index k = 0; k < p.depth; k += p.block) {
    const Block block(p, k / p.block);
    const Index size = std::min(p.block, p.depth - k);
    if (p.x_bits == 16) {
      add_words(block, codes_of(p, k, size, unpacked), stride, next);
    } else {
      add_bytes(block, k, size, stride, next);
    }
  }
  end();
}

constexpr TileKernels kTiles{.begin = begin,
                             .end = end,
                             .multiply = multiply,
                             .pack = pack,
                             .split = split_rows,
                             .transpose = transpose};

}  // namespace

const TileKernels& amx_tiles() { return kTiles; }

// Few rows, or blocks that do not fill tiles, are multiplied in vectors.
void amx_integer_product(const IntegerProduct& p) {
  constexpr Index kFewestTileRows = 4;
  if (p.rows >= kFewestTileRows && p.block % kByteDepth == 0 && p.depth % kByteDepth == 0) {
    return integer_tile_product(p);
  }
  const IntegerKernels& vectors = avx512_vnni_integers();
  for (Index r = 0; r < p.rows; r += vectors.rows) {
    IntegerProduct part = p;
    part.x += r;
    part.rows = std::min(vectors.rows, p.rows - r);
    part.sums += r * p.sums_stride;
    vectors.product(part);
  }
}

}  // namespace instructblip
