#include "instructblip/layers/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/huge_pages.h"
#include "instructblip/core/error.h"
#include "instructblip/core/index.h"

namespace instructblip {

KvCache::Block::Block(Index floats) : data(tensor_in_huge_pages(DType::Float32, {floats})) {}

KvCache::Block::Block(const Block& other) : Block(other.data.size()) {
  std::copy_n(other.data.data<float>(), other.data.size(), data.data<float>());
}

KvCache::KvCache(Index layers, Index width, Index sequences, Index block_positions)
    : layers_(layers),
      width_(width),
      block_positions_(block_positions),
      tables_(to_size(std::max<Index>(0, sequences))) {
  if (layers < 0 || width < 0 || sequences < 0 || block_positions < 1) {
    throw InputError(
        "KvCache of " + std::to_string(layers) + " layers, width " + std::to_string(width) + ", " +
        std::to_string(sequences) + " sequences and " + std::to_string(block_positions) +
        " positions per block; expected no negative number and at least 1 position per block");
  }
}

const KvCache::Table& KvCache::table(Index sequence) const {
  if (sequence < 0 || sequence >= sequences()) {
    throw InputError("KvCache: sequence " + std::to_string(sequence) +
                     " does not exist; the cache holds " + std::to_string(sequences()) +
                     " sequences");
  }
  return at(tables_, sequence);
}

float* KvCache::slot(Block& block, Index layer, Index part, Index position) const {
  return block.data.data<float>() + ((layer * 2 + part) * block_positions_ + position) * width_;
}

void KvCache::extend(const RowTable& rows) {
  if (rows.sequences() != sequences()) {
    throw InputError("KvCache::extend: the rows belong to " + std::to_string(rows.sequences()) +
                     " sequences, but the cache holds " + std::to_string(sequences()));
  }
  for (Index s = 0; s < sequences(); ++s) {
    Table& table = at(tables_, s);
    const Index added = rows.count(s);
    if (added == 0) continue;
    const Index used = table.length % block_positions_;
    if (used != 0 && table.blocks.back().use_count() > 1) {
      table.blocks.back() = std::make_shared<Block>(*table.blocks.back());
    }
    table.length += added;
    const auto needed = to_size((table.length + block_positions_ - 1) / block_positions_);
    while (table.blocks.size() < needed) {
      table.blocks.push_back(std::make_shared<Block>(layers_ * 2 * block_positions_ * width_));
    }
  }
}

void KvCache::write(Index layer, MatrixView keys, MatrixView values, const RowTable& rows) {
  if (layer < 0 || layer >= layers_ || keys.cols != width_ || values.cols != width_ ||
      keys.rows != rows.rows() || values.rows != rows.rows()) {
    throw InputError("KvCache::write: layer " + std::to_string(layer) + " of " +
                     std::to_string(layers_) + ", keys [" + std::to_string(keys.rows) + ", " +
                     std::to_string(keys.cols) + "], values [" + std::to_string(values.rows) +
                     ", " + std::to_string(values.cols) + "], expected [" +
                     std::to_string(rows.rows()) + ", " + std::to_string(width_) + "]");
  }
  for (Index s = 0; s < rows.sequences(); ++s) {
    if (rows.count(s) > length(s)) {
      throw InputError("KvCache::write: sequence " + std::to_string(s) + " has room for " +
                       std::to_string(length(s)) + " of " + std::to_string(rows.count(s)) +
                       " positions; call extend with the same rows first");
    }
  }
  const auto bytes = to_size(width_) * sizeof(float);
  for (Index s = 0; s < rows.sequences(); ++s) {
    Table& table = at(tables_, s);
    for (Index i = 0; i < rows.count(s); ++i) {
      const Index position = table.length - rows.count(s) + i;
      Block& block = *at(table.blocks, position / block_positions_);
      const Index row = rows.begin(s) + i;
      std::memcpy(slot(block, layer, 0, position % block_positions_), keys.row(row), bytes);
      std::memcpy(slot(block, layer, 1, position % block_positions_), values.row(row), bytes);
    }
  }
}

std::vector<KeyValueSpan> KvCache::spans(Index layer, Index sequence) const {
  if (layer < 0 || layer >= layers_) {
    throw InputError("KvCache: layer " + std::to_string(layer) +
                     " does not exist; the cache holds " + std::to_string(layers_) + " layers");
  }
  const auto& [blocks, length] = table(sequence);
  std::vector<KeyValueSpan> spans;
  spans.reserve(blocks.size());
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const Index first = static_cast<Index>(b) * block_positions_;
    spans.push_back({slot(*blocks[b], layer, 0, 0), slot(*blocks[b], layer, 1, 0),
                     std::min(block_positions_, length - first), width_});
  }
  return spans;
}

void KvCache::reorder(std::span<const Index> sources) {
  std::vector<Table> reordered;
  reordered.reserve(sources.size());
  for (Index source : sources) reordered.push_back(table(source));
  tables_ = std::move(reordered);
}

void KvCache::truncate(Index sequence, Index length) {
  const Index cached = table(sequence).length;
  if (length < 0 || length > cached) {
    throw InputError("KvCache::truncate: sequence " + std::to_string(sequence) + " has " +
                     std::to_string(cached) + " positions, expected at least " +
                     std::to_string(length));
  }
  Table& shortened = at(tables_, sequence);
  shortened.length = length;
  shortened.blocks.resize(to_size((length + block_positions_ - 1) / block_positions_));
}

}  // namespace instructblip
