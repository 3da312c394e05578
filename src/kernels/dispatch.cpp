#include "instructblip/kernels/dispatch.h"

#include <atomic>
#include <cstdlib>

#include "instructblip/core/error.h"
#include "kernels/kernel_table.h"
#include "kernels/kernels_avx2.h"

namespace instructblip {
namespace {

#if defined(INSTRUCTBLIP_HAVE_AVX2)
// The plain level with faster bodies where they pay.
const KernelTable& avx2_kernels() {
  static const KernelTable table = [] {
    KernelTable t = eigen_kernels();
    t.name = "avx2";
    t.lanes = avx2::kLanes;
    t.dots = avx2::dots;
    t.dots_bf16 = avx2::dots_bf16;
    t.widen_bf16 = avx2::widen_bf16;
    t.weighted_sum = avx2::weighted_sum;
    t.softmax = avx2::softmax;
    t.gelu = avx2::gelu;
    t.gelu_tanh = avx2::gelu_tanh;
    t.quick_gelu = avx2::quick_gelu;
    t.silu = avx2::silu;
    return t;
  }();
  return table;
}
#endif

// Best first; only what this machine can run.
std::vector<const KernelTable*> available_tables() {
  std::vector<const KernelTable*> tables;
#if defined(INSTRUCTBLIP_HAVE_AVX2)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    tables.push_back(&avx2_kernels());
  }
#endif
  tables.push_back(&eigen_kernels());
  return tables;
}

const KernelTable& find_table(const std::string& level, const std::string& asked_by) {
  std::string known;
  for (const KernelTable* table : available_tables()) {
    if (level == table->name) return *table;
    known += (known.empty() ? "" : ", ") + std::string(table->name);
  }
  throw InputError(asked_by + ": kernel level \"" + level +
                   "\" is unknown, or this machine or build lacks it; available: " + known);
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
