#include "checkpoint/write_safetensors.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string_view>
#include <utility>

#include "checkpoint/unfinished_file.h"
#include "core/json_reader.h"
#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/error.h"

namespace instructblip {
namespace {

// The elements begin at a multiple of this, as those of a Tensor.
constexpr std::size_t kAlignedTo = 64;

using TensorOrder = std::vector<const UnwrittenTensor*>;

// Wider elements first, then what keeps the next one aligned.
TensorOrder order_in_file(const std::vector<UnwrittenTensor>& tensors) {
  TensorOrder order;
  for (const UnwrittenTensor& tensor : tensors) order.push_back(&tensor);
  const auto rank = [](const UnwrittenTensor* tensor) {
    return std::pair(-static_cast<Index>(size_of(tensor->dtype)),
                     tensor->bytes() % kAlignedTo != 0);
  };
  std::stable_sort(order.begin(), order.end(), [&](auto* a, auto* b) { return rank(a) < rank(b); });
  return order;
}

// With the 8 bytes of its length.
std::string make_header(const TensorOrder& order,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string_view> seen;
  std::size_t offset = 0;
  for (const UnwrittenTensor* tensor : order) {
    const std::string& name = tensor->name;
    if (name == "__metadata__" || !seen.insert(name).second) {
      throw InputError("save_safetensors: the tensor name \"" + name + "\" is " +
                       (name == "__metadata__" ? "reserved" : "given twice"));
    }
    const std::size_t end = offset + tensor->bytes();
    header[name] = {{"dtype", safetensors_name_of(tensor->dtype)},
                    {"shape", tensor->shape},
                    {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception&) {
    throw InputError("save_safetensors: a name or the metadata is not UTF-8");
  }
  std::uint64_t length = 0;
  const std::size_t whole = (sizeof(length) + text.size() + kAlignedTo - 1) / kAlignedTo;
  length = whole * kAlignedTo - sizeof(length);
  text.resize(length, ' ');
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

void write_elements(UnfinishedFile& file, const TensorView& view) {
  const std::size_t bytes = to_size(element_count(view.shape)) * size_of(view.dtype);
  if (bytes == 0) return;
  if (view.is_contiguous()) return file.write(view.data, bytes);
  const Tensor copy = Tensor::copy_of(view);
  file.write(copy.raw(), bytes);
}

}  // namespace

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<UnwrittenTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const TensorOrder order = order_in_file(tensors);
  const std::string header = make_header(order, metadata);
  UnfinishedFile file(path);
  file.write(header.data(), header.size());
  for (const UnwrittenTensor* tensor : order) write_elements(file, tensor->read());
  file.finish();
}

void save_safetensors(const std::filesystem::path& path,
                      const std::vector<std::pair<std::string, TensorView>>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<UnwrittenTensor> unwritten;
  for (const auto& [name, view] : tensors) {
    unwritten.push_back(
        {name, view.dtype, view.shape, [&view = view] { return SharedTensor(view, nullptr); }});
  }
  write_safetensors(path, unwritten, metadata);
}

}  // namespace instructblip
