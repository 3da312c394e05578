#include "instructblip/kernels/dispatch.h"

#if defined(INSTRUCTBLIP_HAVE_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include <atomic>
#include <cstdlib>

#include "instructblip/core/error.h"
#include "kernels/kernel_table.h"

namespace instructblip {

// Each is defined in the level's file, kernels_<level>.cpp.
const TileKernels& amx_tiles();
void amx_integer_product(const IntegerProduct& product);
const KernelTable& avx512_kernels();
const PairKernels& avx512_bf16_pairs();
const PairKernels& avx512_bf16_split_pairs();
const IntegerKernels& avx512_vnni_integers();
const KernelTable& avx2_kernels();
const KernelTable& neon_kernels();
const IntegerKernels& neon_dotprod_integers();
const IntegerKernels& neon_i8mm_integers();
const PairKernels& neon_bf16_pairs();
const PairKernels& neon_bf16_split_pairs();
const KernelTable& eigen_kernels();

namespace {

struct Level {
  const KernelTable& (*table)();
  bool (*supported)();  // by this machine's CPU
};

// A level as another one with these products of quantised weights.
[[maybe_unused]] KernelTable with_integers(KernelTable table, const IntegerKernels& integers,
                                           const char* name) {
  table.name = name;
  table.integers = integers;
  return table;
}

#if defined(INSTRUCTBLIP_HAVE_AVX512)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

// Without products of bytes, those of AVX2 are as fast as wider ones, and faster for a token.
const KernelTable& avx512_level() {
  static const KernelTable table =
      with_integers(avx512_kernels(), avx2_kernels().integers, "avx512");
  return table;
}
#endif

#if defined(INSTRUCTBLIP_HAVE_AVX512_VNNI)
const KernelTable& avx512_vnni_kernels() {
  static const KernelTable table =
      with_integers(avx512_kernels(), avx512_vnni_integers(), "avx512_vnni");
  return table;
}

bool has_avx512_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
#endif

#if defined(INSTRUCTBLIP_HAVE_AVX512_BF16)
bool has_avx512_bf16() { return has_avx512_vnni() && __builtin_cpu_supports("avx512bf16"); }

// Intel's CPUs take two cycles for a product of vectors of bfloat16 pairs, half the rate of
// float32: without tiles, avx512_vnni is faster there.
bool has_fast_avx512_bf16() { return has_avx512_bf16() && __builtin_cpu_is("amd"); }

const KernelTable& avx512_bf16_kernels() {
  static const KernelTable table = [] {
    KernelTable bf16 = with_integers(avx512_kernels(), avx512_vnni_integers(), "avx512_bf16");
    bf16.pairs = &avx512_bf16_pairs();
    bf16.split_pairs = &avx512_bf16_split_pairs();
    return bf16;
  }();
  return table;
}
#endif

#if defined(INSTRUCTBLIP_HAVE_AMX)
const KernelTable& amx_kernels() {
  static const KernelTable table = [] {
    KernelTable amx = with_integers(avx512_kernels(), avx512_vnni_integers(), "amx");
    amx.tiles = &amx_tiles();
    amx.integers.rows = kMostIntegerRows;
    amx.integers.tiles = kMostIntegerTiles;
    amx.integers.product = amx_integer_product;
    return amx;
  }();
  return table;
}

// Tiles and bfloat16 products, which Linux must also allow this process to use
// (Documentation/arch/x86/xstate.rst).
bool has_amx() {
  constexpr unsigned kTiles = 1u << 24, kTileBFloat16 = 1u << 22, kTileInt8 = 1u << 25;  // edx
  constexpr unsigned kBFloat16 = 1u << 5;  // leaf 7.1, eax
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr unsigned kAll = kTiles | kTileBFloat16 | kTileInt8;
  if ((edx & kAll) != kAll) return false;
  if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) == 0 || (eax & kBFloat16) == 0) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

// Linux lists a CPU's instructions (Documentation/arch/arm64/elf_hwcaps.rst).
#if defined(INSTRUCTBLIP_HAVE_NEON_DOTPROD)
bool has_neon_dotprod() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
  return false;
#endif
}

const KernelTable& neon_dotprod_kernels() {
  static const KernelTable table =
      with_integers(neon_kernels(), neon_dotprod_integers(), "neon_dotprod");
  return table;
}
#endif

#if defined(INSTRUCTBLIP_HAVE_NEON_BF16)
bool has_neon_bf16() {
#if defined(__linux__)
  constexpr unsigned long kBoth = HWCAP2_I8MM | HWCAP2_BF16;
  return (getauxval(AT_HWCAP2) & kBoth) == kBoth;
#else
  return false;
#endif
}

const KernelTable& neon_bf16_kernels() {
  static const KernelTable table = [] {
    KernelTable bf16 = with_integers(neon_kernels(), neon_i8mm_integers(), "neon_bf16");
    bf16.pairs = &neon_bf16_pairs();
    bf16.split_pairs = &neon_bf16_split_pairs();
    return bf16;
  }();
  return table;
}
#endif

// The levels of this build (cmake/kernels.cmake), best first.
const Level kLevels[] = {
#if defined(INSTRUCTBLIP_HAVE_AMX)
    {amx_kernels, [] { return has_avx512_vnni() && has_amx(); }},
#endif
#if defined(INSTRUCTBLIP_HAVE_AVX512_BF16)
    {avx512_bf16_kernels, has_fast_avx512_bf16},
#endif
#if defined(INSTRUCTBLIP_HAVE_AVX512_VNNI)
    {avx512_vnni_kernels, has_avx512_vnni},
#endif
#if defined(INSTRUCTBLIP_HAVE_AVX512_BF16)
    {avx512_bf16_kernels, [] { return has_avx512_bf16() && !has_fast_avx512_bf16(); }},
#endif
#if defined(INSTRUCTBLIP_HAVE_AVX512)
    {avx512_level, has_avx512},
#endif
#if defined(INSTRUCTBLIP_HAVE_AVX2)
    {avx2_kernels, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
#if defined(INSTRUCTBLIP_HAVE_NEON_BF16)
    {neon_bf16_kernels, has_neon_bf16},
#endif
#if defined(INSTRUCTBLIP_HAVE_NEON_DOTPROD)
    {neon_dotprod_kernels, has_neon_dotprod},
#endif
#if defined(INSTRUCTBLIP_HAVE_NEON)
    {neon_kernels, [] { return true; }},
#endif
    {eigen_kernels, [] { return true; }},
};

std::vector<const KernelTable*> available_tables() {
  std::vector<const KernelTable*> tables;
  for (const Level& level : kLevels) {
    if (level.supported()) tables.push_back(&level.table());
  }
  return tables;
}

const KernelTable& find_table(const std::string& level, const std::string& asked_by) {
  std::string known;
  for (const KernelTable* table : available_tables()) {
    if (level == table->name) return *table;
    known += (known.empty() ? "" : ", ") + std::string(table->name);
  }
  throw InputError(asked_by + ": kernel level \"" + level +
                   "\" is not available on this machine; available: " + known);
}

const KernelTable& initial_table() {
  const char* level = std::getenv("INSTRUCTBLIP_KERNELS");
  if (level == nullptr || *level == '\0') return *available_tables().front();
  return find_table(level, "environment variable INSTRUCTBLIP_KERNELS");
}

std::atomic<const KernelTable*>& current() {
  static std::atomic<const KernelTable*> table = &initial_table();
  return table;
}

}  // namespace

const KernelTable& kernels() { return *current().load(std::memory_order_relaxed); }

std::string kernel_level() { return kernels().name; }

std::vector<std::string> available_kernel_levels() {
  std::vector<std::string> levels;
  for (const KernelTable* table : available_tables()) levels.emplace_back(table->name);
  return levels;
}

void force_kernel_level(const std::string& level) {
  current() = &find_table(level, "force_kernel_level");
}

}  // namespace instructblip
