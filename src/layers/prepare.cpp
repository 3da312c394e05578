#include "instructblip/layers/prepare.h"

#include <utility>

#include "checkpoint/tensor_cache.h"
#include "instructblip/core/error.h"

namespace instructblip {
namespace {

constexpr const char* kCodes = ".codes";
constexpr const char* kScales = ".scales";
constexpr const char* kZeroPoints = ".zero_points";

}  // namespace

PreparedMatrix kept_matrix(const Weights& weights, const std::string& name, Index out_features,
                           Index in_features) {
  TensorCache* const cache = weights.cache();
  if (cache == nullptr || !weights.quantization()) return {};
  try {
    auto codes = cache->find(name + kCodes);
    auto scales = cache->find(name + kScales);
    if (!codes || !scales) return {};
    const auto zero_points = cache->find(name + kZeroPoints);
    return PreparedMatrix::from_tiles({.codes = *std::move(codes),
                                       .scales = *std::move(scales),
                                       .zero_points = zero_points.value_or(SharedTensor())},
                                      out_features, in_features, prepare_policy(weights));
  } catch (const Error& error) {
    cache->reject(cache->file().string() + ": " + name + ": " + error.what());
    return {};
  }
}

void keep_matrix(const Weights& weights, const std::string& name, const PreparedMatrix& matrix) {
  TensorCache* const cache = weights.cache();
  if (cache == nullptr || !weights.quantization()) return;
  std::optional<PreparedTiles> tiles = matrix.tiles();
  if (!tiles) return;
  cache->add(name + kCodes, std::move(tiles->codes));
  cache->add(name + kScales, std::move(tiles->scales));
  if (tiles->zero_points.data != nullptr) {
    cache->add(name + kZeroPoints, std::move(tiles->zero_points));
  }
}

}  // namespace instructblip
