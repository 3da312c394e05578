#include "instructblip/checkpoint/checkpoint.h"

#include <algorithm>
#include <array>
#include <set>
#include <system_error>
#include <utility>

#include "core/json_reader.h"
#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/error.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFile = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

using WeightMap = std::map<std::string, std::string>;

// Name -> shard, from the index.
WeightMap read_index(const fs::path& path) {
  const Json json = read_json_file<CheckpointError>(path);
  const auto found = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || found == json.end() || !found->is_object()) {
    throw CheckpointError(
        path.string() +
        ": expected an object \"weight_map\" in the index, found none; fetch the file again");
  }
  WeightMap map;
  for (const auto& [name, value] : found->items()) {
    const std::string shard = value.is_string() ? value.get<std::string>() : std::string();
    if (shard.empty() || shard.find_first_of("/\\") != std::string::npos ||
        shard.find('\0') != std::string::npos || shard == "." || shard == "..") {
      throw CheckpointError(path.string() + ": weight_map, key \"" + name +
                            "\": expected the name of a file in the same folder, found " +
                            value.dump().substr(0, 80));
    }
    map.emplace(name, shard);
  }
  return map;
}

void check_shards_exist(const std::set<std::string>& shards, const fs::path& index) {
  std::string absent;
  for (const std::string& shard : shards) {
    std::error_code ignored;
    if (fs::exists(index.parent_path() / shard, ignored)) continue;
    absent += (absent.empty() ? "" : ", ") + shard;
  }
  if (!absent.empty()) {
    throw CheckpointError(index.string() + ": these shards are missing: " + absent +
                          ". Fetch the whole checkpoint");
  }
}

std::string list_of_files(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  constexpr std::size_t kMost = 20;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMost); ++i) {
    text += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > kMost) text += ", ... (" + std::to_string(names.size()) + " in all)";
  return names.empty() ? "nothing" : text;
}

bool holds_pytorch_weights(const fs::path& folder) {
  std::error_code code;
  for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with("pytorch_model") && name.ends_with(".bin")) return true;
  }
  return false;
}

// A text as a Python literal, escaped for the shell.
std::string python_literal(const std::string& text) {
  std::string literal;
  for (const char c : text) {
    if (c == '\\')
      literal += "\\\\\\\\";
    else if (c == '\'')
      literal += "\\\\'";
    else if (c == '"' || c == '$' || c == '`')
      literal += std::string("\\") + c;
    else
      literal += c;
  }
  return "'" + literal + "'";
}

[[noreturn]] void refuse_folder(const fs::path& folder) {
  if (holds_pytorch_weights(folder)) {
    const std::string name = python_literal(folder.string());
    throw CheckpointError(
        folder.string() +
        ": the weights are stored only as pytorch_model*.bin, which is not supported. Convert them "
        "with\n"
        "  python -c \"from transformers import InstructBlipForConditionalGeneration as Model; "
        "Model.from_pretrained(" +
        name + ", dtype='auto').save_pretrained(" + name + ")\"");
  }
  throw CheckpointError(folder.string() + ": no checkpoint; expected " + std::string(kFile) +
                        " or " + std::string(kIndex) + ", found " + list_of_files(folder));
}

}  // namespace

struct Checkpoint::Contents {
  fs::path path;
  std::string where;
  std::vector<fs::path> paths;
  std::map<std::string, CheckpointTensor, std::less<>> tensors;
  std::map<fs::path, SafetensorsFile> files;
  std::shared_ptr<const std::map<std::string, Tensor>> in_memory;
  std::size_t bytes = 0;
  bool has_data = true;

  void add(const std::string& name, CheckpointTensor tensor) {
    bytes += tensor.bytes;
    tensors.emplace(name, std::move(tensor));
  }

  const SafetensorsFile& open_file(const fs::path& file) {
    paths.push_back(file);
    return files.emplace(file, SafetensorsFile(file)).first->second;
  }

  void add_file(const fs::path& file) {
    for (const auto& [name, entry] : open_file(file).entries()) {
      add(name, {entry.dtype, entry.shape, entry.bytes, file});
    }
  }

  void add_shards(const fs::path& index) {
    const WeightMap map = read_index(index);
    std::set<std::string> shards;
    for (const auto& [name, shard] : map) shards.insert(shard);
    check_shards_exist(shards, index);
    for (const std::string& shard : shards) add_shard(shard, map, index);
    std::string lacking;
    for (const auto& [name, shard] : map) {
      if (!tensors.contains(name)) lacking += "\n  " + name + " in " + shard;
    }
    if (!lacking.empty()) {
      throw CheckpointError(
          index.string() + ": the index names tensors that are missing from its shards:" + lacking);
    }
  }

  // If two shards hold a tensor, the index decides. Tensors that it does not mention are used, too,
  // as in transformers.
  void add_shard(const std::string& shard, const WeightMap& map, const fs::path& index) {
    const fs::path file = index.parent_path() / shard;
    for (const auto& [name, entry] : open_file(file).entries()) {
      const auto listed = map.find(name);
      if (listed != map.end() && listed->second != shard) continue;
      if (const auto other = tensors.find(name); other != tensors.end()) {
        throw CheckpointError(index.string() + ": tensor " + name + " is in two shards (" +
                              other->second.file.filename().string() + ", " + shard +
                              ") and the index does not name one; correct the index");
      }
      add(name, {entry.dtype, entry.shape, entry.bytes, file});
    }
  }
};

Checkpoint::Checkpoint(std::unique_ptr<const Contents> contents) : contents_(std::move(contents)) {}
Checkpoint::~Checkpoint() = default;

std::shared_ptr<const Checkpoint> Checkpoint::open(const fs::path& path) {
  auto contents = std::make_unique<Contents>();
  contents->path = path;
  contents->where = path.string();
  std::error_code ignored;
  require_path<CheckpointError>(path);
  if (fs::is_directory(path, ignored)) {
    if (fs::exists(path / kFile, ignored)) {
      contents->add_file(path / kFile);
    } else if (fs::exists(path / kIndex, ignored)) {
      contents->add_shards(path / kIndex);
    } else {
      refuse_folder(path);
    }
  } else if (path.filename().string().ends_with(".index.json")) {
    contents->add_shards(path);
  } else {
    contents->add_file(path);
  }
  return std::shared_ptr<const Checkpoint>(new Checkpoint(std::move(contents)));
}

std::shared_ptr<const Checkpoint> Checkpoint::from_tensors(std::map<std::string, Tensor> tensors) {
  auto contents = std::make_unique<Contents>();
  contents->where = "tensors in memory";
  contents->in_memory = std::make_shared<const std::map<std::string, Tensor>>(std::move(tensors));
  for (const auto& [name, tensor] : *contents->in_memory) {
    const auto bytes = to_size(tensor.size()) * size_of(tensor.dtype());
    contents->add(name,
                  {std::string(safetensors_name_of(tensor.dtype())), tensor.shape(), bytes, {}});
  }
  return std::shared_ptr<const Checkpoint>(new Checkpoint(std::move(contents)));
}

std::shared_ptr<const Checkpoint> Checkpoint::without_data(
    std::shared_ptr<const Checkpoint> checkpoint) {
  auto contents = std::make_unique<Contents>(*checkpoint->contents_);
  contents->has_data = false;
  return std::shared_ptr<const Checkpoint>(new Checkpoint(std::move(contents)));
}

const std::string& Checkpoint::where() const { return contents_->where; }
const fs::path& Checkpoint::path() const { return contents_->path; }
const std::vector<fs::path>& Checkpoint::files() const { return contents_->paths; }
std::size_t Checkpoint::bytes() const { return contents_->bytes; }

const std::map<std::string, CheckpointTensor, std::less<>>& Checkpoint::tensors() const {
  return contents_->tensors;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : contents_->tensors) names.push_back(name);
  return names;
}

std::optional<DType> Checkpoint::dtype() const {
  std::map<DType, std::size_t> elements;
  for (const auto& [name, tensor] : contents_->tensors) {
    const std::optional<DType> dtype = dtype_from_safetensors(tensor.dtype);
    if (dtype && is_floating_point(*dtype)) elements[*dtype] += tensor.bytes / size_of(*dtype);
  }
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](auto& a, auto& b) { return a.second < b.second; });
  return most == elements.end() ? std::nullopt : std::optional(most->first);
}

std::optional<SharedTensor> Checkpoint::find(std::string_view name) const {
  const auto found = contents_->tensors.find(name);
  if (found == contents_->tensors.end()) return std::nullopt;
  if (!contents_->has_data) {
    const std::optional<DType> dtype = dtype_from_safetensors(found->second.dtype);
    if (dtype) return SharedTensor(TensorView(nullptr, *dtype, found->second.shape), nullptr);
  }
  if (contents_->in_memory) {
    return SharedTensor(contents_->in_memory->at(found->first), contents_->in_memory);
  }
  return contents_->files.at(found->second.file).find(name);
}

}  // namespace instructblip
