#include "checkpoint/weight_files.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "checkpoint/python_commands.h"
#include "core/json_reader.h"
#include "instructblip/core/error.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFile = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

std::map<std::string, std::string> read_index(const fs::path& path) {
  const Json json = read_json_file<CheckpointError>(path);
  const auto found = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || found == json.end() || !found->is_object()) {
    throw CheckpointError(
        path.string() +
        ": expected an object \"weight_map\" in the index, found none; fetch the file again");
  }
  std::map<std::string, std::string> map;
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

std::string shown(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 6;
  if (names.empty()) return "nothing";
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMost); ++i) {
    text += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > kMost) text += " and " + std::to_string(names.size() - kMost) + " more";
  return text;
}

// Throws if one of these files of a folder is missing. `where` names the list in the message.
void check_shards_exist(const std::set<std::string>& shards, const fs::path& folder,
                        const std::string& where) {
  std::vector<std::string> absent;
  for (const std::string& shard : shards) {
    if (!is_file(folder / shard)) absent.push_back(shard);
  }
  if (!absent.empty()) {
    throw CheckpointError(where + ": these shards are missing: " + shown(absent) +
                          ". Fetch the whole checkpoint");
  }
}

WeightFiles shards_of_index(const fs::path& index) {
  WeightFiles found{.files = {}, .index = index, .shard_of = read_index(index)};
  std::set<std::string> shards;
  for (const auto& [name, shard] : found.shard_of) shards.insert(shard);
  check_shards_exist(shards, index.parent_path(), index.string());
  for (const std::string& shard : shards) found.files.push_back(index.parent_path() / shard);
  return found;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Of the numbers in model-00001-of-00003.safetensors.
constexpr std::size_t kDigits = 5;

bool is_number(std::string_view text) {
  return text.size() == kDigits && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// The number of shards that the name of one states; 0 if it is no shard's name.
std::size_t shard_count(std::string_view name) {
  constexpr std::string_view kBefore = "model-", kBetween = "-of-", kAfter = ".safetensors";
  if (name.size() != kBefore.size() + kDigits + kBetween.size() + kDigits + kAfter.size() ||
      !name.starts_with(kBefore) || !name.ends_with(kAfter)) {
    return 0;
  }
  name.remove_prefix(kBefore.size());
  const std::string_view number = name.substr(0, kDigits);
  const std::string_view count = name.substr(kDigits + kBetween.size(), kDigits);
  if (!is_number(number) || !is_number(count)) return 0;
  return name.substr(kDigits, kBetween.size()) == kBetween ? std::stoul(std::string(count)) : 0;
}

std::string padded(std::size_t number) {
  const std::string digits = std::to_string(number);
  return std::string(kDigits - digits.size(), '0') + digits;
}

// The shards of a folder without an index, by their names; none if there is no shard.
std::vector<fs::path> shards_without_index(const fs::path& folder) {
  std::set<std::size_t> counts;
  for (const std::string& name : names_in(folder)) {
    if (const std::size_t count = shard_count(name); count > 0) counts.insert(count);
  }
  if (counts.empty()) return {};
  if (counts.size() > 1) {
    throw CheckpointError(folder.string() + ": there are shards of " +
                          std::to_string(*counts.begin()) + " and of " +
                          std::to_string(*counts.rbegin()) + ", and no " + std::string(kIndex) +
                          " that names those of this checkpoint; remove the others");
  }
  const std::string count = padded(*counts.begin());
  std::set<std::string> shards;
  for (std::size_t i = 1; i <= *counts.begin(); ++i) {
    shards.insert("model-" + padded(i) + "-of-" + count + ".safetensors");
  }
  check_shards_exist(shards, folder, folder.string());
  std::vector<fs::path> files;
  for (const std::string& shard : shards) files.push_back(folder / shard);
  return files;
}

// What the end of a file's name says about weights that cannot be read.
struct OtherFormat {
  std::string_view ending;
  std::string_view what;  // "X.gguf is ..."
};

constexpr std::string_view kUnfinished =
    "the rest of a download that did not finish; download the checkpoint again";
constexpr std::string_view kLavis =
    "a file of torch.save (LAVIS publishes its weights so), which is not supported; download the "
    "converted checkpoint from the hub, or convert it with transformers' "
    "models/instructblip/convert_instructblip_original_to_pytorch.py";

constexpr std::array kOtherFormats = {
    OtherFormat{".incomplete", kUnfinished},
    OtherFormat{".part", kUnfinished},
    OtherFormat{".crdownload", kUnfinished},
    OtherFormat{".aria2", kUnfinished},
    OtherFormat{".gguf",
                "llama.cpp's format, which is not supported; download the checkpoint in "
                "safetensors"},
    OtherFormat{".pth", kLavis},
    OtherFormat{".pt", kLavis},
    OtherFormat{".ckpt", kLavis},
    OtherFormat{".h5",
                "TensorFlow's format, which is not supported; download the checkpoint in "
                "safetensors"},
    OtherFormat{".msgpack",
                "Flax' format, which is not supported; download the checkpoint in "
                "safetensors"},
    OtherFormat{".onnx",
                "an exported graph (ONNX), which is not supported; download the "
                "checkpoint in safetensors"},
    OtherFormat{".safetensors",
                "not the name of a checkpoint's file; rename it to "
                "model.safetensors if it holds the whole model"},
};

// An adapter was given in the place of a model.
[[noreturn]] void refuse_adapter(const fs::path& folder) {
  const Json json = read_json_file<CheckpointError>(folder / "adapter_config.json");
  const std::string base = JsonReader<CheckpointError>(json, folder.string())
                               .get_or<std::string>("base_model_name_or_path", "");
  throw CheckpointError(
      folder.string() + ": a PEFT adapter, not a model; give the folder of its base model" +
      (base.empty() ? "" : ", " + base + ",") + " as the model, and this one as the adapter");
}

[[noreturn]] void refuse_folder(const fs::path& folder) {
  const std::vector<std::string> names = names_in(folder);
  const auto holds = [&](auto&& fits) { return std::any_of(names.begin(), names.end(), fits); };
  if (holds([](const std::string& name) {
        return name.starts_with("pytorch_model") && name.ends_with(".bin");
      })) {
    throw CheckpointError(
        folder.string() +
        ": the weights are stored only as pytorch_model*.bin, which is not supported. Convert them "
        "with\n  " +
        python::convert_checkpoint(folder));
  }
  if (is_file(folder / "adapter_config.json")) refuse_adapter(folder);
  std::string found;
  for (const OtherFormat& format : kOtherFormats) {
    const auto other = std::find_if(names.begin(), names.end(), [&](const std::string& name) {
      return name.ends_with(format.ending);
    });
    if (other == names.end()) continue;
    found = *other + " is " + std::string(format.what);
    break;
  }
  throw CheckpointError(folder.string() + ": no checkpoint; expected " + std::string(kFile) +
                        " or " + std::string(kIndex) +
                        (found.empty() ? ", found " + shown(names) : ". " + found));
}

}  // namespace

WeightFiles find_weight_files(const fs::path& path) {
  require_path<CheckpointError>(path);
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    if (path.filename().string().ends_with(".index.json")) return shards_of_index(path);
    return {.files = {path}, .index = {}, .shard_of = {}};
  }
  if (is_file(path / kFile)) return {.files = {path / kFile}, .index = {}, .shard_of = {}};
  if (is_file(path / kIndex)) return shards_of_index(path / kIndex);
  std::vector<fs::path> shards = shards_without_index(path);
  if (shards.empty()) refuse_folder(path);
  return {.files = std::move(shards), .index = {}, .shard_of = {}};
}

}  // namespace instructblip
