#include "checkpoint/peft_adapter.h"

#include <algorithm>
#include <array>
#include <set>
#include <system_error>
#include <utility>

#include "checkpoint/lora_config.h"
#include "checkpoint/python_commands.h"
#include "checkpoint/wrapper_names.h"
#include "core/text_file.h"
#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/checkpoint/weights.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";
constexpr std::string_view kPeftPrefix = "base_model.model.";
// Tensors that a base model may lack because they are tied to others.
constexpr std::string_view kHead = "lm_head.weight", kEmbedding = "embed_tokens.weight";

bool may_be_tied(std::string_view name) {
  return name.ends_with(kHead) || name.ends_with(kEmbedding);
}

// The name of an adapter's tensor, taken apart: MODULE.lora_A[.ADAPTER].weight, or the name of a
// whole tensor of the base model.
struct AdapterName {
  enum class Kind { A, B, BiasOfB, EmbeddingA, EmbeddingB, Magnitude, Rows, Whole, Unused };
  Kind kind = Kind::Whole;
  std::string module;    // for Whole: the whole name
  std::string adapter;   // empty if the name does not have it
  bool is_plain = true;  // of Whole: the name was that of the base model
};

struct Marker {
  std::string_view text;
  AdapterName::Kind kind;
};

constexpr std::array kMarkers = {
    Marker{".lora_A", AdapterName::Kind::A},
    Marker{".lora_B", AdapterName::Kind::B},
    Marker{".lora_embedding_A", AdapterName::Kind::EmbeddingA},
    Marker{".lora_embedding_B", AdapterName::Kind::EmbeddingB},
    Marker{".lora_magnitude_vector", AdapterName::Kind::Magnitude},
    Marker{".token_adapter.trainable_tokens_delta", AdapterName::Kind::Rows},
};

// Takes "PART" out of "A.PART.B".
bool take_out(std::string& name, std::string_view part) {
  const std::string middle = "." + std::string(part) + ".";
  const std::size_t at = name.find(middle);
  if (at == std::string::npos) return false;
  name.erase(at, middle.size() - 1);
  return true;
}

// Takes "modules_to_save" out of a name, together with the adapter's name that precedes the rest
// unless the rest is only the tensor's own name.
bool take_out_saved(std::string& name) {
  constexpr std::string_view kSaved = ".modules_to_save.";
  const std::size_t at = name.find(kSaved);
  if (at == std::string::npos) return false;
  const std::size_t dot = name.find('.', at + kSaved.size());
  name.erase(at, (dot == std::string::npos ? at + kSaved.size() - 1 : dot) - at);
  return true;
}

AdapterName parse_name(std::string name) {
  while (name.starts_with(kPeftPrefix)) name.erase(0, kPeftPrefix.size());
  for (const Marker& marker : kMarkers) {
    const std::size_t at = name.find(std::string(marker.text) + ".");
    const bool is_end = name.ends_with(marker.text);
    if (at == std::string::npos && !is_end) continue;
    AdapterName parsed{marker.kind, name.substr(0, name.find(marker.text)), "", true};
    std::string rest = is_end ? "" : name.substr(at + marker.text.size());
    if (marker.kind == AdapterName::Kind::B && rest.ends_with(".bias")) {
      parsed.kind = AdapterName::Kind::BiasOfB;
      rest.resize(rest.size() - 5);
    } else if (rest.ends_with(".weight")) {
      rest.resize(rest.size() - 7);
    }
    if (!rest.empty()) parsed.adapter = rest.substr(1);
    return parsed;
  }
  AdapterName parsed;
  if (name.find(".original_module.") != std::string::npos) parsed.kind = AdapterName::Kind::Unused;
  parsed.is_plain = !take_out_saved(name) && !take_out(name, "base_layer");
  parsed.module = std::move(name);
  return parsed;
}

std::string list_of(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : collapse_names(names)) text += "\n  " + name;
  return text;
}

// Throws if the folder does not hold an adapter's two files.
void require_adapter_files(const fs::path& folder) {
  require_folder<CheckpointError>(folder);
  if (!is_file(folder / kConfigFile)) {
    std::string nested;
    std::error_code code;
    for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code)) {
      if (nested.empty() && is_file(it->path() / kConfigFile)) nested = it->path().string();
    }
    throw CheckpointError(folder.string() + ": no PEFT adapter; expected " + kConfigFile + " and " +
                          kWeightsFile + (nested.empty() ? "" : ". There is one in " + nested));
  }
  if (is_file(folder / kWeightsFile)) return;
  if (is_file(folder / "adapter_model.bin")) {
    throw CheckpointError(folder.string() +
                          ": the adapter is stored only as adapter_model.bin, which is not "
                          "supported. Convert it with\n  " +
                          python::convert_adapter(folder));
  }
  throw CheckpointError(folder.string() + ": there is " + kConfigFile + ", but no " + kWeightsFile +
                        "; fetch the whole adapter");
}

}  // namespace

// Reads one adapter.
class PeftAdapter::Reader {
 public:
  Reader(const fs::path& folder, const Tensors& base, const std::string& where)
      : folder_(folder),
        base_(base),
        base_where_(where),
        config_(checked(folder) / kConfigFile, python::merge_adapter(where, folder)),
        file_(folder / kWeightsFile) {}

  void read_into(PeftAdapter& adapter) {
    read_names();
    find_prefix();
    check_targets();
    for (const auto& [name, tensor] : whole_) replace(name, tensor, adapter);
    for (const auto& [module, part] : parts_) change(module, part);
    adapter.changes_ = std::move(changes_);
    adapter.info_ = {.folder = folder_,
                     .base_model_name_or_path = config_.base_model(),
                     .modules = static_cast<Index>(parts_.size()),
                     .tensors = static_cast<Index>(whole_.size()),
                     .least_rank = least_rank_,
                     .greatest_rank = greatest_rank_,
                     .is_dora = config_.use_dora()};
  }

 private:
  using Kind = AdapterName::Kind;
  using Part = std::map<Kind, std::string>;  // the names of a module's tensors in the file

  static const fs::path& checked(const fs::path& folder) {
    require_adapter_files(folder);
    return folder;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw CheckpointError(file_.path().string() + ": " + what);
  }

  void read_names() {
    std::set<std::string> adapters, ignored;
    for (const auto& [stored, entry] : file_.entries()) {
      AdapterName name = parse_name(without_wrappers(stored, ignored));
      if (!name.adapter.empty()) adapters.insert(name.adapter);
      if (name.kind == Kind::Unused) continue;
      if (name.kind == Kind::Whole) {
        // With bias "all", peft saves the biases of modules_to_save under both names.
        if (name.is_plain) whole_[name.module] = stored;
        whole_.emplace(name.module, stored);
      } else if (!parts_[name.module].emplace(name.kind, stored).second) {
        fail("the tensor " + stored + " is there twice, under two names");
      }
    }
    if (adapters.size() > 1) {
      fail("holds several adapters, " + *adapters.begin() + " and " + *adapters.rbegin() +
           "; save the one that is meant alone");
    }
    if (parts_.empty() && whole_.empty()) fail("holds no tensors");
  }

  // The name of the weight that a module's LoRA changes.
  std::string weight_of(const std::string& module) const { return prefix_ + module + ".weight"; }

  // The codes of the module below `prefix` if it is quantised in the base model, by the names that
  // programs give them.
  const CheckpointTensor* quantized(const std::string& prefix, const std::string& module) const {
    for (const char* name : {".weight", ".weight_packed", ".qweight"}) {
      const auto found = base_.find(prefix + module + name);
      if (found == base_.end()) continue;
      const auto type = dtype_from_safetensors(found->second.dtype);
      if (type && !is_floating_point(*type)) return &found->second;
    }
    return nullptr;
  }

  // What the base model lacks if all names begin with `prefix`.
  std::vector<std::string> missing_below(const std::string& prefix) const {
    std::vector<std::string> missing;
    for (const auto& [module, part] : parts_) {
      const std::string weight = module + ".weight";
      if (!base_.contains(prefix + weight) && !whole_.contains(weight) &&
          quantized(prefix, module) == nullptr) {
        missing.push_back(module);
      }
    }
    for (const auto& [name, stored] : whole_) {
      if (!base_.contains(prefix + name) && !may_be_tied(name)) missing.push_back(name);
    }
    return missing;
  }

  // An adapter of the language model alone has names that begin inside of it.
  void find_prefix() {
    const std::vector<std::string> missing = missing_below("");
    if (missing.empty()) return;
    std::set<std::string> scopes;
    for (const auto& [name, tensor] : base_) {
      const std::size_t first = name.find('.');
      if (first == std::string::npos) continue;
      scopes.insert(name.substr(0, first + 1));
      const std::size_t second = name.find('.', first + 1);
      if (second != std::string::npos) scopes.insert(name.substr(0, second + 1));
    }
    std::vector<std::string> fitting;
    for (const std::string& scope : scopes) {
      if (missing_below(scope).empty()) fitting.push_back(scope);
    }
    if (fitting.size() > 1) {
      fail("its tensors fit several parts of the base model: " + fitting[0] + " and " + fitting[1]);
    }
    if (fitting.empty()) {
      fail("these are not part of the base model " + base_where_ + ":" + list_of(missing) +
           "\nThe adapter belongs to another model" +
           (config_.base_model().empty() ? "" : ", " + config_.base_model()));
    }
    prefix_ = fitting[0];
  }

  // PEFT ignores tensors of modules that the settings do not select.
  void check_targets() const {
    std::vector<std::string> unexpected, absent;
    for (const auto& [module, part] : parts_) {
      const bool has_lora = part.contains(Kind::A) || part.contains(Kind::EmbeddingA);
      if (has_lora && !config_.targets(module)) unexpected.push_back(module);
    }
    if (!unexpected.empty()) {
      fail("there are tensors for modules that " + config_.where() + " does not select:" +
           list_of(unexpected) + "\nDo the two files belong to the same adapter?");
    }
    if (!config_.lists_modules()) return;
    constexpr std::string_view kWeight = ".weight";
    for (const auto& [name, tensor] : base_) {
      if (!name.starts_with(prefix_) || !name.ends_with(kWeight) || tensor.shape.size() < 2)
        continue;
      const std::string module =
          name.substr(prefix_.size(), name.size() - prefix_.size() - kWeight.size());
      if (config_.targets(module) && !parts_.contains(module)) absent.push_back(module);
    }
    if (absent.empty()) return;
    log_warning(file_.path().string() +
                ": it has no tensors for modules that its settings select; they stay as in the "
                "base model:" +
                list_of(absent));
  }

  SharedTensor tensor(const std::string& stored) const {
    SharedTensor found = file_.find(stored).value();
    if (!is_floating_point(found.dtype)) fail(stored + ": expected a floating-point type");
    return found;
  }

  void require_shape(const std::string& stored, const Shape& found, const Shape& expected) const {
    if (found == expected) return;
    const bool is_partitioned = element_count(found) == 0;
    fail(stored + ": found " + to_string(found) + ", expected " + to_string(expected) +
         (is_partitioned ? "; it was saved in part only (DeepSpeed ZeRO-3 or FSDP): gather the "
                           "parameters before saving"
                         : "; does the adapter belong to another model?"));
  }

  void replace(const std::string& name, const std::string& stored, PeftAdapter& adapter) {
    const std::string full = prefix_ + name;
    const SharedTensor given = tensor(stored);
    const auto known = base_.find(full);
    if (known == base_.end()) {
      const SafetensorsEntry& entry = file_.entries().at(stored);
      adapter.added_.emplace(full,
                             CheckpointTensor{entry.dtype, entry.shape, entry.bytes, file_.path()});
    } else {
      require_shape(stored, given.shape, known->second.shape);
      check_tied(name, stored);
    }
    changes_[full].replaced = given;
  }

  // Of embeddings to which the output head is tied, modules_to_save changes a copy, and the head
  // keeps the old ones.
  void check_tied(const std::string& name, const std::string& stored) const {
    if (!name.ends_with(kEmbedding) || !config_.saves(name)) return;
    const auto is_head = [](const auto& entry) { return entry.first.ends_with(kHead); };
    if (std::any_of(base_.begin(), base_.end(), is_head) ||
        std::any_of(whole_.begin(), whole_.end(), is_head)) {
      return;
    }
    fail(stored +
         ": \"modules_to_save\" has embeddings to which the output head is tied, which is not "
         "supported; merge the adapter with peft:\n  " +
         python::merge_adapter(base_where_, folder_));
  }

  const Shape& shape_of(const std::string& name) const {
    const auto known = base_.find(name);
    return known != base_.end() ? known->second.shape : changes_.at(name).replaced->shape;
  }

  const std::string& required(const std::string& module, const Part& part, Kind kind,
                              const char* name) const {
    const auto found = part.find(kind);
    if (found == part.end()) fail(module + ": its " + name + " is missing");
    return found->second;
  }

  void change(const std::string& module, const Part& part) {
    const std::string weight = weight_of(module);
    if (const CheckpointTensor* const codes = quantized(prefix_, module)) {
      fail(prefix_ + module + ": the base model's weight is quantised (stored as " + codes->dtype +
           "), and an adapter can only be merged into floating-point numbers; merge it into the "
           "checkpoint that " +
           base_where_ + " was made from, or leave it out");
    }
    AdapterChange& change = changes_[weight];
    const Shape& shape = shape_of(weight);
    if (const auto rows = part.find(Kind::Rows); rows != part.end()) {
      set_rows(module, rows->second, shape, change);
      if (part.size() == 1) return;
    }
    const bool is_embedding = part.contains(Kind::EmbeddingA) || part.contains(Kind::EmbeddingB);
    const std::string& a = required(module, part, is_embedding ? Kind::EmbeddingA : Kind::A,
                                    is_embedding ? "lora_embedding_A" : "lora_A");
    const std::string& b = required(module, part, is_embedding ? Kind::EmbeddingB : Kind::B,
                                    is_embedding ? "lora_embedding_B" : "lora_B");
    change.is_embedding = is_embedding;
    change.scale = config_.scale(module);
    set_factors(module, a, b, shape, change);
    set_magnitude(module, part, shape, change);
    if (const auto bias = part.find(Kind::BiasOfB); bias != part.end()) {
      set_bias(module, bias->second, change.scale);
    }
  }

  void set_rows(const std::string& module, const std::string& stored, const Shape& shape,
                AdapterChange& change) const {
    const auto numbers = config_.trained_rows(module);
    if (!numbers) {
      fail(stored + ": " + config_.where() + " has no \"trainable_token_indices\" for it");
    }
    if (shape.size() != 2) {
      fail(stored + ": the base model's weight is " + to_string(shape) +
           ", expected a table [rows, columns]; does the adapter belong to another model?");
    }
    change.rows = tensor(stored);
    change.row_numbers = *numbers;
    for (const Index row : *numbers) {
      if (row < 0 || row >= shape[0]) {
        fail(stored + ": \"trainable_token_indices\" has " + std::to_string(row) +
             ", expected 0 to " + std::to_string(shape[0] - 1));
      }
    }
    require_shape(stored, change.rows->shape, {std::ssize(*numbers), shape[1]});
  }

  void set_factors(const std::string& module, const std::string& a, const std::string& b,
                   const Shape& shape, AdapterChange& change) {
    change.a = tensor(a);
    change.b = tensor(b);
    if (shape.size() != (change.is_embedding ? 2 : change.a->shape.size()) || shape.size() < 2) {
      fail(a + ": found " + to_string(change.a->shape) + ", but the base model's weight is " +
           to_string(shape) + "; does the adapter belong to another model?");
    }
    const Index rank = change.a->shape.empty() ? 0 : change.a->shape[0];
    Shape expected_a = shape, expected_b(shape.size(), 1);
    expected_a[0] = rank;
    expected_b[0] = shape[0];
    expected_b[1] = rank;
    if (change.is_embedding) {
      expected_a = {rank, shape[0]};
      expected_b = {shape[1], rank};
    }
    require_shape(a, change.a->shape, expected_a);
    require_shape(b, change.b->shape, expected_b);
    if (rank == 0) require_shape(a, change.a->shape, {static_cast<Index>(1), shape[1]});
    if (static_cast<double>(rank) != config_.rank(module)) {
      fail(a + ": its rank is " + std::to_string(rank) + ", but that of " + config_.where() +
           " is " + std::to_string(static_cast<Index>(std::min(config_.rank(module), 1e9))) +
           ". Do the two files belong to the same adapter?");
    }
    least_rank_ = least_rank_ == 0 ? rank : std::min(least_rank_, rank);
    greatest_rank_ = std::max(greatest_rank_, rank);
  }

  void set_magnitude(const std::string& module, const Part& part, const Shape& shape,
                     AdapterChange& change) const {
    const auto magnitude = part.find(Kind::Magnitude);
    if ((magnitude != part.end()) != config_.use_dora()) {
      fail(module + ": " +
           (config_.use_dora() ? "its lora_magnitude_vector is missing"
                               : "has a lora_magnitude_vector, but \"use_dora\" "
                                 "is not true") +
           " (" + config_.where() + ")");
    }
    if (magnitude == part.end()) return;
    change.magnitude = tensor(magnitude->second);
    const Index expected = change.is_embedding ? shape[1] : shape[0];
    if (change.magnitude->size() != expected) {
      require_shape(magnitude->second, change.magnitude->shape, {expected});
    }
  }

  void set_bias(const std::string& module, const std::string& stored, float scale) {
    const std::string bias = prefix_ + module + ".bias";
    const auto known = base_.find(bias);
    if (known == base_.end()) fail(stored + ": the base model's layer has no bias");
    AdapterChange& change = changes_[bias];
    change.bias = tensor(stored);
    change.scale = scale;
    require_shape(stored, change.bias->shape, known->second.shape);
  }

  const fs::path& folder_;
  const Tensors& base_;
  const std::string& base_where_;
  LoraConfig config_;
  SafetensorsFile file_;
  std::string prefix_;
  std::map<std::string, Part> parts_;         // by module
  std::map<std::string, std::string> whole_;  // name -> name in the file
  std::map<std::string, AdapterChange, std::less<>> changes_;
  Index least_rank_ = 0, greatest_rank_ = 0;
};

PeftAdapter::PeftAdapter(const fs::path& folder, const Tensors& base, const std::string& where) {
  Reader(folder, base, where).read_into(*this);
}

const AdapterChange* PeftAdapter::find(std::string_view name) const {
  const auto found = changes_.find(name);
  return found == changes_.end() ? nullptr : &found->second;
}

}  // namespace instructblip
