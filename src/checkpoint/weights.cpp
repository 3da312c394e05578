#include "instructblip/checkpoint/weights.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <mutex>
#include <set>
#include <utility>

#include "checkpoint/mapped_file.h"
#include "checkpoint/tensor_cache.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"

namespace instructblip {
namespace {

bool is_below(std::string_view name, std::string_view prefix) {
  return prefix.empty() || name == prefix ||
         (name.size() > prefix.size() && name.starts_with(prefix) && name[prefix.size()] == '.');
}

// Whether `name` matches `pattern`, in which `*` matches any text.
bool matches(std::string_view pattern, std::string_view name) {
  const std::size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  pattern.remove_prefix(star + 1);
  name.remove_prefix(star);
  for (std::size_t skipped = 0; skipped <= name.size(); ++skipped) {
    if (matches(pattern, name.substr(skipped))) return true;
  }
  return false;
}

constexpr std::string_view kLeftovers[] = {"*rotary_emb.inv_freq", "*position_ids"};

// A placeholder for a faulty tensor. The caller must have checked the shape.
SharedTensor without_data(const Shape& expected) {
  return SharedTensor(TensorView(nullptr, DType::Float32, expected), nullptr);
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += "\n  " + line;
  return text;
}

}  // namespace

struct Weights::Context {
  std::shared_ptr<const Checkpoint> checkpoint;
  DType dtype, activations;
  QuantizationRecipe recipe;
  StoredQuantization stored_quantization;
  std::optional<ProgressReporter> progress;
  bool prefetch = false;
  std::shared_ptr<TensorCache> cache;
  std::mutex mutex;
  std::set<std::string, std::less<>> asked;
  std::vector<std::string> ignored;  // scopes
  std::vector<std::string> faults;   // one line each
  std::set<std::string, std::less<>> noted;
  std::map<std::string, Quantization> quantized;
  std::size_t unfit_elements = 0;

  void note(const std::string& fault) {
    const std::lock_guard lock(mutex);
    // A tied weight may be requested by both of its owners.
    if (noted.insert(fault).second) faults.push_back(fault);
  }

  // A missing or misshapen tensor. Layers allocate what they expect, so construction must stop
  // early if the configuration needs far more than the checkpoint holds.
  void note_unfit(const std::string& fault, const Shape& expected) {
    note(fault);
    constexpr std::size_t kAlways = std::size_t{1} << 24, kTimes = 64;
    std::size_t elements = std::numeric_limits<std::size_t>::max();
    try {
      elements = to_size(element_count(expected));
    } catch (const InputError&) {
    }
    const std::lock_guard lock(mutex);
    const std::size_t most = kAlways + kTimes * checkpoint->bytes();
    if (elements <= most - unfit_elements) {
      unfit_elements += elements;
      return;
    }
    throw CheckpointError(
        checkpoint->where() +
        ": the configuration needs far more memory than this checkpoint holds; does it "
        "belong to another model? The first faults:" +
        joined(collapse_names(faults)));
  }

  // Whether this is the first request for the tensor.
  bool ask(const std::string& name) {
    const std::lock_guard lock(mutex);
    return asked.insert(name).second;
  }

  void count(const std::string& name, std::size_t bytes) {
    if (progress) progress->advance(name, static_cast<Index>(bytes));
  }

  bool is_unexpected(const std::string& name) const {
    if (asked.contains(name)) return false;
    const auto fits = [&](std::string_view pattern) { return matches(pattern, name); };
    return std::none_of(std::begin(kLeftovers), std::end(kLeftovers), fits) &&
           std::none_of(ignored.begin(), ignored.end(),
                        [&](const std::string& place) { return is_below(name, place); });
  }
};

Weights::Weights(std::shared_ptr<const Checkpoint> checkpoint, WeightsOptions options)
    : context_(std::make_shared<Context>()) {
  if (checkpoint == nullptr) throw InputError("Weights: the checkpoint is null");
  context_->checkpoint = std::move(checkpoint);
  context_->dtype = options.dtype;
  context_->activations = options.activations;
  context_->recipe = options.quantization;
  context_->stored_quantization = std::move(options.stored_quantization);
  context_->prefetch = options.prefetch;
  context_->cache = std::move(options.cache);
  if (options.progress) {
    const auto total = static_cast<Index>(context_->checkpoint->bytes());
    context_->progress.emplace(std::move(options.progress), total);
  }
}

Weights Weights::from_tensors(std::map<std::string, Tensor> tensors, DType dtype) {
  return Weights(Checkpoint::from_tensors(std::move(tensors)), {.dtype = dtype});
}

std::string Weights::below(std::string_view name) const {
  if (name.empty()) return name_;
  return name_.empty() ? std::string(name) : name_ + "." + std::string(name);
}

Weights Weights::operator[](std::string_view name) const {
  Weights scope = *this;
  scope.name_ = below(name);
  return scope;
}
Weights Weights::operator[](Index index) const { return (*this)[std::to_string(index)]; }
Weights Weights::packed() const {
  Weights scope = *this;
  scope.packed_ = true;
  return scope;
}
Weights Weights::by_rows() const {
  Weights scope = *this;
  scope.by_rows_ = true;
  return scope;
}
Weights Weights::quantized(std::optional<Quantization> quantization) const {
  Weights scope = *this;
  scope.quantization_ = quantization;
  return scope;
}
Weights Weights::sensitive() const {
  return quantization_ ? quantized(Quantization{.bits = 8}) : *this;
}

Weights Weights::at_first_prefix(std::initializer_list<std::string_view> prefixes,
                                 std::string_view probe) const {
  for (const std::string_view prefix : prefixes) {
    if ((*this)[prefix][probe].exists()) return (*this)[prefix];
  }
  return prefixes.size() == 0 ? *this : (*this)[*prefixes.begin()];
}

bool Weights::exists() const { return stored() != nullptr; }
const CheckpointTensor* Weights::stored() const {
  const auto& tensors = context_->checkpoint->tensors();
  const auto entry = tensors.find(name_);
  return entry == tensors.end() ? nullptr : &entry->second;
}

DType Weights::dtype() const { return context_->dtype; }
DType Weights::activations() const { return context_->activations; }
const QuantizationRecipe& Weights::recipe() const { return context_->recipe; }
const StoredQuantization& Weights::stored_quantization() const {
  return context_->stored_quantization;
}
const std::string& Weights::where() const { return context_->checkpoint->where(); }
const Checkpoint& Weights::checkpoint() const { return *context_->checkpoint; }
TensorCache* Weights::cache() const { return context_->cache.get(); }

SharedTensor Weights::get(const Shape& expected) const {
  if (!exists()) {
    context_->note_unfit(name_ + ": missing, expected " + to_string(expected), expected);
  }
  if (std::optional<SharedTensor> found = find(expected)) return *std::move(found);
  return without_data(expected);
}

SharedTensor Weights::get(const Shape& expected, std::initializer_list<DType> types) const {
  std::string wanted;
  for (const DType type : types) {
    wanted.append(wanted.empty() ? "" : " or ").append(name_of(type));
  }
  if (!exists()) {
    context_->note_unfit(name_ + ": missing, expected " + to_string(expected) + " of " + wanted,
                         expected);
  }
  if (std::optional<SharedTensor> found = find(expected, types, wanted)) return *std::move(found);
  return without_data(expected);
}

std::optional<SharedTensor> Weights::find(const Shape& expected) const {
  return find(expected, {DType::Float32, DType::BFloat16, DType::Float16}, "a floating-point type");
}

std::optional<SharedTensor> Weights::find(const Shape& expected, std::initializer_list<DType> types,
                                          const std::string& wanted) const {
  const bool is_new = context_->ask(name_);
  const auto entry = context_->checkpoint->tensors().find(name_);
  if (entry == context_->checkpoint->tensors().end()) return std::nullopt;
  if (entry->second.shape != expected) {
    context_->note_unfit(
        name_ + ": found " + to_string(entry->second.shape) + ", expected " + to_string(expected),
        expected);
    return without_data(expected);
  }
  try {
    std::optional<SharedTensor> tensor = context_->checkpoint->find(name_);
    if (is_new && context_->prefetch && !by_rows_) {
      instructblip::prefetch(tensor->data, entry->second.bytes);
    }
    if (is_new) context_->count(name_, entry->second.bytes);
    if (std::find(types.begin(), types.end(), tensor->dtype) != types.end()) return tensor;
    fault("stored as " + entry->second.dtype + ", expected " + wanted);
  } catch (const CheckpointError& error) {
    context_->note(error.what());
  }
  return without_data(expected);
}

void Weights::read_ahead() const {
  if (!context_->prefetch || !exists()) return;
  const auto tensor = context_->checkpoint->find(name_);
  instructblip::prefetch(tensor->data, stored()->bytes);
}

void Weights::skip(const Shape& expected) const {
  const CheckpointTensor* const tensor = stored();
  if (tensor == nullptr || tensor->shape != expected) {
    get(expected);  // notes the fault
  } else if (context_->ask(name_)) {
    context_->count(name_, tensor->bytes);
  }
}

void Weights::fault(const std::string& what) const { context_->note(name_ + ": " + what); }

void Weights::note_quantized(const Quantization& quantization) const {
  const std::lock_guard lock(context_->mutex);
  context_->quantized.insert_or_assign(name_, quantization);
}

std::map<std::string, Quantization> Weights::quantized_matrices() const {
  const std::lock_guard lock(context_->mutex);
  return context_->quantized;
}

void Weights::ignore() const {
  const std::lock_guard lock(context_->mutex);
  context_->ignored.push_back(name_);
}

WeightsReport Weights::report() const {
  const std::lock_guard lock(context_->mutex);
  WeightsReport report;
  report.faults = context_->faults;
  for (const auto& [name, tensor] : context_->checkpoint->tensors()) {
    if (is_below(name, name_) && context_->is_unexpected(name)) {
      report.unexpected.push_back(name);
    }
  }
  return report;
}

void Weights::finish() const {
  const auto [faults, unexpected] = report();
  if (!faults.empty()) {
    std::string text = where() + ": " + std::to_string(faults.size()) +
                       (faults.size() == 1 ? " tensor does" : " tensors do") +
                       " not fit the configuration:" + joined(collapse_names(faults));
    // A missing tensor is usually present under another name.
    if (!unexpected.empty()) {
      text += "\nThese are not part of the model:" + joined(collapse_names(unexpected));
    }
    throw CheckpointError(text);
  }
  if (!unexpected.empty()) {
    log_warning(
        where() + ": " + std::to_string(unexpected.size()) +
        " tensors are not part of the model and stay unused:" + joined(collapse_names(unexpected)));
  }
  if (context_->cache && context_->cache->has_changed()) {
    context_->count("writing " + context_->cache->file().string(), 0);
    context_->cache->save();
  }
}

bool same_elements(const TensorView& a, const TensorView& b) {
  if (a.shape != b.shape || a.data == nullptr || b.data == nullptr) return false;
  if (a.data == b.data && a.dtype == b.dtype && a.strides == b.strides) return true;
  if (a.dtype == b.dtype && a.is_contiguous() && b.is_contiguous()) {
    const auto bytes = to_size(a.size()) * size_of(a.dtype);
    return bytes == 0 || std::memcmp(a.data, b.data, bytes) == 0;
  }
  const Tensor left = Tensor::copy_of(a).to(DType::Float32);
  const Tensor right = Tensor::copy_of(b).to(DType::Float32);
  return std::equal(left.span<float>().begin(), left.span<float>().end(),
                    right.span<float>().begin());
}

namespace {

// A name, cut at its first number between dots.
struct NumberedName {
  std::string before, after;
  std::optional<Index> number;
};

NumberedName split_at_number(const std::string& name) {
  for (std::size_t begin = 0; begin < name.size();) {
    std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    if (!part.empty() && part.size() < 10 &&
        part.find_first_not_of("0123456789") == std::string::npos && end < name.size()) {
      return {name.substr(0, begin), name.substr(end), std::stol(part)};
    }
    begin = end + 1;
  }
  return {name, "", std::nullopt};
}

// "{0-3,7}", or just the number if there is only one.
std::string ranges(std::vector<Index> numbers) {
  std::sort(numbers.begin(), numbers.end());
  if (numbers.size() == 1) return std::to_string(numbers[0]);
  std::string text = "{";
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    if (i > 0) text += ',';
    text += std::to_string(numbers[i]);
    if (last > i) text.append("-").append(std::to_string(numbers[last]));
    i = last + 1;
  }
  return text + "}";
}

}  // namespace

std::vector<std::string> collapse_names(const std::vector<std::string>& names) {
  std::vector<std::pair<NumberedName, std::vector<Index>>> groups;
  std::map<std::pair<std::string, std::string>, std::size_t> places;
  for (const std::string& name : names) {
    const NumberedName split = split_at_number(name);
    const auto [place, is_new] = places.emplace(
        std::pair(split.before, split.number ? split.after : std::string("\n")), groups.size());
    if (is_new) groups.emplace_back(split, std::vector<Index>());
    if (split.number) groups[place->second].second.push_back(*split.number);
  }
  std::vector<std::string> collapsed;
  for (const auto& [split, numbers] : groups) {
    collapsed.push_back(split.number ? split.before + ranges(numbers) + split.after : split.before);
  }
  return collapsed;
}

}  // namespace instructblip
