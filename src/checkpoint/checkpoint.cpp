#include "instructblip/checkpoint/checkpoint.h"

#include <algorithm>
#include <set>
#include <utility>

#include "checkpoint/peft_adapter.h"
#include "checkpoint/weight_files.h"
#include "checkpoint/wrapper_names.h"
#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"

namespace instructblip {

namespace fs = std::filesystem;

struct Checkpoint::Contents {
  fs::path path;
  std::string where;
  std::vector<fs::path> paths;
  std::map<std::string, CheckpointTensor, std::less<>> tensors;
  std::map<std::string, std::string, std::less<>> stored_names;  // of renamed tensors
  std::map<fs::path, SafetensorsFile> files;
  std::shared_ptr<const std::map<std::string, Tensor>> in_memory;
  std::shared_ptr<const PeftAdapter> adapter;
  std::size_t bytes = 0;
  bool has_data = true;
  bool memory_map = true;

  void add(const std::string& name, CheckpointTensor tensor) {
    bytes += tensor.bytes;
    tensors.emplace(name, std::move(tensor));
  }

  const SafetensorsFile& open_file(const fs::path& file) {
    paths.push_back(file);
    return files.emplace(file, SafetensorsFile(file, memory_map)).first->second;
  }

  void add_files(const WeightFiles& found) {
    for (const fs::path& file : found.files) add_file(file, found);
    std::string lacking;
    for (const auto& [name, shard] : found.shard_of) {
      if (!tensors.contains(name)) lacking += "\n  " + name + " in " + shard;
    }
    if (!lacking.empty()) {
      throw CheckpointError(
          found.index.string() +
          ": the index names tensors that are missing from its shards:" + lacking);
    }
  }

  // If two shards hold a tensor, the index decides. Tensors that it does not mention are used, too,
  // as in transformers.
  void add_file(const fs::path& file, const WeightFiles& all) {
    const std::string shard = file.filename().string();
    for (const auto& [name, entry] : open_file(file).entries()) {
      const auto listed = all.shard_of.find(name);
      if (listed != all.shard_of.end() && listed->second != shard) continue;
      if (const auto other = tensors.find(name); other != tensors.end()) {
        const std::string shards = other->second.file.filename().string() + ", " + shard;
        throw CheckpointError(
            all.index.empty()
                ? where + ": tensor " + name + " is in two shards (" + shards +
                      "), and there is no index that names one; fetch the whole checkpoint"
                : all.index.string() + ": tensor " + name + " is in two shards (" + shards +
                      ") and the index does not name one; correct the index");
      }
      add(name, {entry.dtype, entry.shape, entry.bytes, file});
    }
  }

  // The name that the tensor has in its file.
  const std::string& stored_name(const std::string& name) const {
    const auto found = stored_names.find(name);
    return found == stored_names.end() ? name : found->second;
  }

  SharedTensor stored(const std::string& name, const fs::path& file) const {
    if (in_memory) return SharedTensor(in_memory->at(stored_name(name)), in_memory);
    return files.at(file).find(stored_name(name)).value();
  }

  // Gives the tensors the names that `rename` makes of them. Throws CheckpointError if two become
  // the same.
  void rename(const std::function<std::string(const std::string&)>& new_name) {
    std::map<std::string, CheckpointTensor, std::less<>> renamed;
    std::map<std::string, std::string, std::less<>> stored;
    for (auto& [name, tensor] : tensors) {
      const std::string shorter = new_name(name);
      if (renamed.contains(shorter)) {
        throw CheckpointError(where + ": the tensors " + stored_name(name) + " and " +
                              (stored.contains(shorter) ? stored.at(shorter) : shorter) +
                              " are both " + shorter +
                              " without the prefixes of training tools; keep one of them");
      }
      if (stored_name(name) != shorter) stored.emplace(shorter, stored_name(name));
      renamed.emplace(shorter, std::move(tensor));
    }
    tensors = std::move(renamed);
    stored_names = std::move(stored);
  }
};

Checkpoint::Checkpoint(std::unique_ptr<const Contents> contents) : contents_(std::move(contents)) {}
Checkpoint::~Checkpoint() = default;

std::shared_ptr<const Checkpoint> Checkpoint::open(const fs::path& path, bool memory_map) {
  auto contents = std::make_unique<Contents>();
  contents->memory_map = memory_map;
  contents->path = path;
  contents->where = path.string();
  contents->add_files(find_weight_files(path));
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

std::shared_ptr<const Checkpoint> Checkpoint::unwrapped(
    std::shared_ptr<const Checkpoint> checkpoint, std::string_view probe) {
  auto contents = std::make_unique<Contents>(*checkpoint->contents_);
  std::set<std::string> removed;
  contents->rename([&](const std::string& name) { return without_wrappers(name, removed); });
  const std::string prefix = prefix_before(probe, contents->tensors, contents->where);
  if (!prefix.empty()) {
    removed.insert(prefix);
    contents->rename([&](const std::string& name) {
      return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
    });
  }
  if (removed.empty()) return checkpoint;
  std::string shown;
  for (const std::string& part : removed) shown += (shown.empty() ? "\"" : ", \"") + part + "\"";
  log_warning(contents->where + ": the names of its tensors contain " + shown +
              ", which a training tool's wrapper puts there; read without it");
  return std::shared_ptr<const Checkpoint>(new Checkpoint(std::move(contents)));
}

std::shared_ptr<const Checkpoint> Checkpoint::with_adapter(
    std::shared_ptr<const Checkpoint> checkpoint, const fs::path& folder) {
  auto contents = std::make_unique<Contents>(*checkpoint->contents_);
  if (contents->adapter) {
    throw CheckpointError(folder.string() + ": another adapter is merged already, " +
                          contents->adapter->info().folder.string());
  }
  contents->adapter =
      std::make_shared<const PeftAdapter>(folder, contents->tensors, contents->where);
  for (const auto& [name, tensor] : contents->adapter->added()) contents->add(name, tensor);
  return std::shared_ptr<const Checkpoint>(new Checkpoint(std::move(contents)));
}

const std::string& Checkpoint::where() const { return contents_->where; }
const fs::path& Checkpoint::path() const { return contents_->path; }
const AdapterInfo* Checkpoint::adapter() const {
  return contents_->adapter ? &contents_->adapter->info() : nullptr;
}
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
  const AdapterChange* change = contents_->adapter ? contents_->adapter->find(name) : nullptr;
  const auto stored = [&] { return contents_->stored(found->first, found->second.file); };
  return change == nullptr ? stored() : PeftAdapter::apply(*change, stored);
}

}  // namespace instructblip
