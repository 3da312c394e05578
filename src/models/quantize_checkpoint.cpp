#include "instructblip/models/quantize_checkpoint.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "core/disk_space.h"
#include "core/json_reader.h"
#include "core/text_file.h"
#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/checkpoint/weights.h"
#include "instructblip/core/error.h"
#include "instructblip/kernels/quantized_matrix.h"
#include "instructblip/layers/compressed_tensors.h"
#include "instructblip/models/image_text_to_text_model.h"
#include "instructblip/models/loading.h"
#include "models/quantization_config.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPlanFile = "quantize_checkpoint.json";  // only in TARGET.partial
constexpr std::string_view kWeight = ".weight";

std::size_t quantized_bytes(const Shape& shape, const Quantization& quantization) {
  const Index outs = shape[0], ins = shape[1], size = quantization.group_size;
  const Index groups = size == 0 ? 1 : (ins + size - 1) / size;
  const Index shape_bytes = quantization.bits == 8 ? 0 : 16;
  const Index zeros = quantization.symmetric ? 0 : 4 * ((outs + 7) / 8) * groups;
  return to_size(outs * ins * quantization.bits / 8 + 2 * outs * groups + shape_bytes + zeros);
}

std::string module_of(const std::string& name) {
  return name.substr(0, name.size() - kWeight.size());
}

bool is_weight_file(const fs::path& file) {
  constexpr std::array<std::string_view, 9> kEndings = {
      ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx"};
  const std::string name = file.filename().string();
  return name.ends_with(".index.json") || name == "adapter_config.json" ||
         std::any_of(kEndings.begin(), kEndings.end(),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

// Runs one call of quantize_checkpoint.
class CheckpointQuantizer {
 public:
  CheckpointQuantizer(const fs::path& source, const fs::path& target,
                      const QuantizationRecipe& recipe, const QuantizeOptions& options)
      : source_(source), target_(target), recipe_(recipe), options_(options) {
    // "TARGET/" would make "TARGET/.partial"
    if (!target_.has_filename()) target_ = target_.parent_path();
    partial_ = target_;
    partial_ += ".partial";
  }

  QuantizeReport run() {
    check_folders();
    checkpoint_ = detail::open_checkpoint(source_, {.adapter = options_.adapter});
    plan();
    open_partial();
    ProgressReporter progress(options_.progress, static_cast<Index>(checkpoint_->bytes()));
    for (std::size_t i = 0; i < shards_.size(); ++i) write_shard(i, progress);
    if (shards_.size() > 1) write_index();
    copy_other_files();
    // Without it, the folder does not load; so it comes last.
    const fs::path config = source_ / "config.json";
    write_text_file<CheckpointError>(
        partial_ / "config.json",
        detail::with_quantization_config(read_text_file(config), config.string(), layers_));
    finish();
    return report_;
  }

 private:
  struct Shard {
    std::vector<std::string> tensors;  // of the source
    std::size_t bytes = 0;
    Index source_bytes = 0;
  };

  void check_folders() const {
    require_folder<CheckpointError>(source_);
    std::error_code ignored;
    if (fs::exists(target_, ignored)) {
      throw InputError(target_.string() +
                       ": exists already; give the name of a folder that does not exist, or delete "
                       "this one");
    }
    const fs::path inner = fs::weakly_canonical(target_), outer = fs::canonical(source_);
    if (std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first ==
        outer.end()) {
      throw InputError(target_.string() + ": lies inside the source folder " + source_.string() +
                       "; give a folder beside it");
    }
    const std::string found = detail::quantization_of_folder(source_).method;
    if (!found.empty()) {
      throw ConfigError(source_.string() + ": the weights are quantised already (" + found +
                        "); give the folder that this one was made from");
    }
  }

  // The layers themselves say what they would quantise.
  void plan() {
    const auto config = load_image_text_to_text_config(source_);
    const Weights weights(Checkpoint::without_data(checkpoint_), {.quantization = recipe_});
    const ImageTextToTextModel model(weights, *config);
    weights.finish();
    matrices_ = weights.quantized_matrices();
    if (matrices_.empty()) {
      throw InputError("quantize_checkpoint: the recipe quantises none of the layers of " +
                       source_.string() + "; name a part, as \"int8\" and \"int4\" do");
    }
    for (const auto& [name, tensor] : checkpoint_->tensors()) {
      const auto found = matrices_.find(name);
      const std::size_t bytes =
          found == matrices_.end() ? tensor.bytes : quantized_bytes(tensor.shape, found->second);
      if (shards_.empty() ||
          (shards_.back().bytes + bytes > options_.max_shard_bytes && shards_.back().bytes > 0)) {
        shards_.emplace_back();
      }
      shards_.back().tensors.push_back(name);
      shards_.back().bytes += bytes;
      shards_.back().source_bytes += static_cast<Index>(tensor.bytes);
      report_.bytes += bytes;
      if (name.ends_with(kWeight) && tensor.shape.size() == 2) add_layer(name, tensor.shape[1]);
    }
    report_.quantized_matrices = static_cast<Index>(matrices_.size());
    report_.source_bytes = checkpoint_->bytes();
    report_.shards = std::ssize(shards_);
  }

  void add_layer(const std::string& name, Index inputs) {
    detail::LayerScheme layer{module_of(name), std::nullopt};
    if (const auto found = matrices_.find(name); found != matrices_.end()) {
      layer.quantization = found->second;
      Index& size = layer.quantization->group_size;
      if (size >= inputs) size = 0;
      if (size != 0 && inputs % size != 0) {
        throw InputError("quantize_checkpoint: groups of " + std::to_string(size) +
                         " inputs do not divide the " + std::to_string(inputs) + " of " + name +
                         ", as compressed-tensors requires; choose smaller groups");
      }
    }
    layers_.push_back(std::move(layer));
  }

  // What the files in TARGET.partial depend on.
  std::string plan_text() const {
    Json files = Json::object();
    std::vector<fs::path> inputs = checkpoint_->files();
    inputs.push_back(source_ / "config.json");
    if (const AdapterInfo* adapter = checkpoint_->adapter()) {
      for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) {
        inputs.push_back(adapter->folder / name);
      }
    }
    for (const fs::path& file : inputs) {
      const auto time = fs::last_write_time(file).time_since_epoch().count();
      files[fs::absolute(file).string()] = {{"bytes", fs::file_size(file)}, {"time", time}};
    }
    return Json{{"vision_model", to_string(recipe_.vision_model)},
                {"qformer", to_string(recipe_.qformer)},
                {"language_model", to_string(recipe_.language_model)},
                {"lm_head", to_string(recipe_.lm_head)},
                {"max_shard_bytes", options_.max_shard_bytes},
                {"source", files}}
               .dump(2) +
           "\n";
  }

  void open_partial() {
    const std::string text = plan_text();
    const fs::path file = partial_ / kPlanFile;
    std::error_code code;
    if (fs::exists(partial_, code)) {
      if (!is_file(file) || read_text_file<CheckpointError>(file) != text) {
        throw CheckpointError(partial_.string() +
                              ": was begun with other weights or another recipe, or the source has "
                              "changed since; delete it to begin anew");
      }
    } else {
      fs::create_directories(partial_, code);
      if (code) {
        throw CheckpointError(partial_.string() + ": cannot be created: " + code.message());
      }
      write_text_file<CheckpointError>(file, text);
    }
    std::size_t needed = 0;
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      if (!is_written(i)) needed += shards_[i].bytes;
    }
    require_space<CheckpointError>(partial_, needed, partial_.string());
  }

  fs::path shard_path(std::size_t i) const {
    if (shards_.size() == 1) return partial_ / "model.safetensors";
    const auto padded = [](std::size_t number) {
      const std::string digits = std::to_string(number);
      return std::string(5 - std::min<std::size_t>(5, digits.size()), '0') + digits;
    };
    return partial_ / ("model-" + padded(i + 1) + "-of-" + padded(shards_.size()) + ".safetensors");
  }

  // Names in the written file of a tensor of the source.
  std::vector<std::string> written_names(const std::string& name) const {
    const auto found = matrices_.find(name);
    if (found == matrices_.end()) return {name};
    const std::string scope = module_of(name) + ".";
    if (found->second.bits == 8) return {scope + "weight", scope + "weight_scale"};
    std::vector<std::string> names = {scope + "weight_packed", scope + "weight_scale",
                                      scope + "weight_shape"};
    if (!found->second.symmetric) names.push_back(scope + "weight_zero_point");
    return names;
  }

  // A shard gets its name when it is complete.
  bool is_written(std::size_t i) const {
    const fs::path path = shard_path(i);
    if (!is_file(path)) return false;
    std::set<std::string> expected;
    for (const std::string& name : shards_[i].tensors) {
      for (std::string& written : written_names(name)) expected.insert(std::move(written));
    }
    try {
      const std::vector<std::string> found = SafetensorsFile(path).names();
      return std::set<std::string>(found.begin(), found.end()) == expected;
    } catch (const CheckpointError&) {
      return false;
    }
  }

  void write_shard(std::size_t i, ProgressReporter& progress) {
    const fs::path path = shard_path(i);
    const Shard& shard = shards_[i];
    if (is_written(i)) {
      ++report_.resumed_shards;
      progress.advance(path.filename().string(), shard.source_bytes);
      return;
    }
    std::vector<std::pair<std::string, TensorView>> tensors;
    std::vector<std::shared_ptr<const void>> owners;
    for (const std::string& name : shard.tensors) {
      const SharedTensor stored = checkpoint_->find(name).value();
      if (const auto found = matrices_.find(name); found == matrices_.end()) {
        tensors.emplace_back(name, stored);
        owners.push_back(stored.owner);
      } else {
        for (auto& [part, tensor] : quantized(name, stored, found->second)) {
          auto kept = std::make_shared<const Tensor>(std::move(tensor));
          tensors.emplace_back(module_of(name) + "." + part, kept->view());
          owners.push_back(std::move(kept));
        }
      }
      progress.advance(name, static_cast<Index>(checkpoint_->tensors().find(name)->second.bytes));
    }
    save_safetensors(path, tensors);
  }

  static std::vector<std::pair<std::string, Tensor>> quantized(const std::string& name,
                                                               const SharedTensor& stored,
                                                               const Quantization& quantization) {
    try {
      return to_compressed_tensors(quantize(stored, quantization));
    } catch (const InputError& error) {
      throw CheckpointError(name + ": " + error.what());
    }
  }

  void write_index() const {
    Json files = Json::object();
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      for (const std::string& name : shards_[i].tensors) {
        for (const std::string& written : written_names(name)) {
          files[written] = shard_path(i).filename().string();
        }
      }
    }
    const Json index = {{"metadata", {{"total_size", report_.bytes}}}, {"weight_map", files}};
    write_text_file<CheckpointError>(partial_ / "model.safetensors.index.json",
                                     index.dump(2) + "\n");
  }

  void copy_other_files() const {
    std::error_code code;
    const auto fail = [&](const fs::path& path) {
      if (code) {
        throw CheckpointError(path.string() + ": cannot be copied to " + partial_.string() + ": " +
                              code.message());
      }
    };
    auto place = fs::recursive_directory_iterator(source_, code);
    fail(source_);
    for (const auto end = fs::end(place); place != end; place.increment(code), fail(source_)) {
      const fs::path& from = place->path();
      if (from.filename().string().starts_with('.')) {  // .git, .cache
        if (place->is_directory(code)) place.disable_recursion_pending();
        continue;
      }
      const fs::path relative = from.lexically_relative(source_);
      if (!place->is_regular_file(code) || is_weight_file(from) || relative == "config.json") {
        continue;
      }
      fs::create_directories((partial_ / relative).parent_path(), code);
      fail(from);
      fs::copy_file(from, partial_ / relative, fs::copy_options::overwrite_existing, code);
      fail(from);
    }
  }

  void finish() const {
    std::error_code code;
    fs::rename(partial_, target_, code);
    if (code) {
      throw CheckpointError(partial_.string() + ": is complete, but cannot be renamed to " +
                            target_.string() + ": " + code.message());
    }
    fs::remove(target_ / kPlanFile, code);
  }

  fs::path source_, target_, partial_;
  QuantizationRecipe recipe_;
  const QuantizeOptions& options_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::map<std::string, Quantization> matrices_;
  std::vector<detail::LayerScheme> layers_;
  std::vector<Shard> shards_;
  QuantizeReport report_;
};

}  // namespace

QuantizeReport quantize_checkpoint(const fs::path& source, const fs::path& target,
                                   const QuantizationRecipe& recipe,
                                   const QuantizeOptions& options) {
  return CheckpointQuantizer(source, target, recipe, options).run();
}

}  // namespace instructblip
