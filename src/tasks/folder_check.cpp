#include "instructblip/tasks/folder_check.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <memory>
#include <system_error>
#include <utility>

#include "core/json_reader.h"
#include "instructblip/checkpoint/checkpoint.h"
#include "instructblip/checkpoint/safetensors.h"
#include "instructblip/checkpoint/weights.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "instructblip/image_processing/image_processing_blip.h"
#include "instructblip/layers/quantized_form.h"
#include "instructblip/models/image_text_to_text_model.h"
#include "instructblip/models/modeling_blip_2_retrieval.h"
#include "instructblip/tokenization/tokenizer.h"
#include "models/quantization_config.h"
#include "tasks/end_of_text.h"
#include "tasks/opened_folder.h"

namespace instructblip {
namespace {

namespace fs = std::filesystem;
using Severity = FolderFinding::Severity;
using Ids = std::vector<std::int64_t>;

constexpr const char* kConfig = "config.json";
constexpr const char* kProcessor = "processor_config.json";
constexpr const char* kGeneration = "generation_config.json";
constexpr const char* kWeights = "model.safetensors";

std::string line(const std::string& key, std::int64_t value) {
  return "\"" + key + "\": " + std::to_string(value);
}

std::string shown(const Ids& ids) {
  if (ids.empty()) return "none";
  std::string text;
  for (const std::int64_t id : ids) text += (text.empty() ? "" : ", ") + std::to_string(id);
  return ids.size() == 1 ? text : "[" + text + "]";
}

std::string shown(std::optional<std::int64_t> id) { return id ? std::to_string(*id) : "none"; }

StoredSize& operator+=(StoredSize& sum, const StoredSize& size) {
  sum.parameters += size.parameters;
  sum.bytes += size.bytes;
  sum.memory_bytes += size.memory_bytes;
  return sum;
}
StoredSize& operator-=(StoredSize& sum, const StoredSize& size) {
  sum.parameters -= size.parameters;
  sum.bytes -= size.bytes;
  sum.memory_bytes -= size.memory_bytes;
  return sum;
}

// Checks a folder and collects the findings.
class FolderChecker {
 public:
  FolderChecker(const fs::path& folder, const detail::FolderSource& source) : source_(source) {
    report_.folder = folder;
  }

  FolderReport run() {
    if (is_no_checkpoint()) {
      // What else is missing would say nothing.
      fail(kConfig, "is missing, and so are the processor and the tokenizer",
           "give the folder of a checkpoint");
      attempt(kWeights, [&] { check_weights(); });
      return std::move(report_);
    }
    attempt(kConfig, [&] { report_.config = source_.config(); });
    attempt(kWeights, [&] { check_weights(); });
    attempt("preprocessor_config.json", [&] { check_pictures(); });
    attempt(kProcessor, [&] { check_query_tokens(); });
    attempt("tokenizer", [&] { tokenizer_ = load_tokenizer(); });
    if (report_.config && !config().writes_text()) return std::move(report_);
    if (!report_.config || config().qformer_reads_text()) {
      if (has("qformer_tokenizer")) {
        attempt("qformer_tokenizer", [&] { check_qformer_tokenizer(); });
      } else {
        note_missing_qformer_tokenizer();
      }
    }
    if (report_.config && tokenizer_) check_tokenizer();
    if (report_.config) check_own_ids();
    if (report_.config && has(kGeneration)) attempt(kGeneration, [&] { check_generation(); });
    return std::move(report_);
  }

 private:
  const fs::path& folder() const { return report_.folder; }
  const ImageTextToTextConfig& config() const { return *report_.config; }
  const TextConfig& text() const { return *config().text_config; }
  std::string modality() const { return config().modality(); }
  std::string token_key() const { return modality() + "_token_index"; }
  bool has(const char* name) const {
    std::error_code ignored;
    return is_file(folder() / name) || fs::exists(folder() / name, ignored);
  }

  bool is_no_checkpoint() const {
    const char* const settings[] = {kConfig, kProcessor, "preprocessor_config.json",
                                    "tokenizer_config.json", "tokenizer.json"};
    return std::none_of(std::begin(settings), std::end(settings),
                        [&](const char* name) { return has(name); });
  }

  void warn(std::string file, std::string problem, std::string remedy) {
    report_.findings.push_back(
        {Severity::Warning, std::move(file), std::move(problem), std::move(remedy)});
  }
  void fail(std::string file, std::string problem, std::string remedy) {
    report_.findings.push_back(
        {Severity::Error, std::move(file), std::move(problem), std::move(remedy)});
  }
  template <class Step>
  void attempt(const char* file, const Step& step) {
    try {
      step();
    } catch (const Error& error) {
      fail_with(file, error.what());
    }
  }

  // Error messages begin with the path of a file. For a file in the folder, only its name is kept.
  void fail_with(std::string file, std::string message) {
    for (const std::string& prefix : {(folder() / "").string(), folder().string() + ": "}) {
      if (message.starts_with(prefix)) message.erase(0, prefix.size());
    }
    const std::size_t end = message.find(": ");
    const std::string named = message.substr(0, end);
    if (end != std::string::npos && (named == file || has(named.c_str()))) {
      file = named;
      message.erase(0, end + 2);
    }
    fail(std::move(file), std::move(message), "");
  }

  void check_weights() {
    const std::shared_ptr<const Checkpoint> checkpoint = source_.checkpoint();
    report_.weight_files = checkpoint->files();
    if (const AdapterInfo* adapter = checkpoint->adapter()) report_.adapter = *adapter;
    const DType dtype = resolve_dtype({}, *checkpoint);
    for (const auto& [name, tensor] : checkpoint->tensors()) {
      const StoredSize size{element_count(tensor.shape), tensor.bytes, memory_bytes(tensor, dtype)};
      FolderPart& part = part_of(name);
      ++part.tensors;
      part.by_type[tensor.dtype] += size;
      part.total += size;
      report_.total += size;
    }
    if (!report_.config) return;
    const StoredQuantization stored = detail::quantization_of(config(), folder());
    report_.quantization = stored.method;
    const Weights weights(Checkpoint::without_data(checkpoint), {.stored_quantization = stored});
    if (config().writes_text()) {
      const ImageTextToTextModel model(weights, config());
    } else {
      check_first_stage();
      // Read again: load_retrieval takes the file for a Blip2Config, whatever its model_type is.
      const Blip2ForImageTextRetrieval model(weights, Blip2Config::from_pretrained(folder()));
    }
    for (const auto& [name, quantization] : weights.quantized_matrices()) {
      name_quantized(name, quantization, weights, dtype);
    }
    const WeightsReport found = weights.report();
    for (const std::string& fault : collapse_names(found.faults)) {
      fail(kWeights, fault, "download the checkpoint again, or the config.json that belongs to it");
      report_.findings.back().settled_by_load = true;
    }
    for (const std::string& name : collapse_names(found.unexpected)) {
      warn(kWeights, name + ": not part of the model, ignored", "");
      report_.findings.back().settled_by_load = true;
    }
  }

  void check_first_stage() {
    if (config().model_type() == Blip2Config::kModelType) return;
    warn(kConfig,
         "\"architectures\" is " + config().other.at("architectures") +
             ", a BLIP-2 model, but \"model_type\" is missing or another model's",
         "set it to \"" + std::string(Blip2Config::kModelType) + "\"");
  }

  FolderPart& part_of(std::string name) {
    if (name.starts_with("model.")) name = name.substr(6);
    name = name.substr(0, name.find('.'));
    auto place = std::find_if(report_.parts.begin(), report_.parts.end(),
                              [&](const FolderPart& known) { return known.name == name; });
    if (place == report_.parts.end()) {
      place = report_.parts.insert(place, FolderPart{name, 0, {}, {}});
    }
    return *place;
  }

  // Matrices are kept in one of two types; vectors are float32, but weigh little.
  static std::size_t memory_bytes(const CheckpointTensor& tensor, DType dtype) {
    const auto stored = dtype_from_safetensors(tensor.dtype);
    if (!stored || !is_floating_point(*stored)) return tensor.bytes;
    const bool keeps = *stored == DType::BFloat16;
    return tensor.bytes / size_of(*stored) * size_of(keeps ? *stored : dtype);
  }

  // Counts the tensors of one quantised matrix as such, with the parameters that they stand for.
  void name_quantized(const std::string& name, const Quantization& quantization,
                      const Weights& weights, DType dtype) {
    const Weights layer = weights[name.substr(0, name.rfind('.'))];
    const QuantizedForm* const form = quantized_form(layer);
    if (form == nullptr) return;
    FolderPart& part = part_of(name);
    StoredSize stored, quantized;
    const auto move = [&](std::string_view kind) -> StoredSize {
      const CheckpointTensor* const tensor = layer[kind].stored();
      if (tensor == nullptr) return {};
      const StoredSize size{element_count(tensor->shape), tensor->bytes,
                            memory_bytes(*tensor, dtype)};
      part.by_type[tensor->dtype] -= size;
      if (part.by_type[tensor->dtype].parameters == 0) part.by_type.erase(tensor->dtype);
      stored += size;
      quantized.bytes += size.bytes;
      return size;
    };
    const StoredSize codes = move(form->codes);
    quantized.parameters = static_cast<Index>(codes.bytes) * 8 / quantization.bits;
    // The scales are float32 in memory, and zero points are bytes.
    quantized.memory_bytes = codes.bytes + to_size(move(form->scales).parameters) *
                                               (sizeof(float) + (quantization.symmetric ? 0 : 1));
    for (const std::string_view other : form->others) move(other);
    part.by_type[to_string(quantization)] += quantized;
    for (StoredSize* total : {&part.total, &report_.total}) {
      *total -= stored;
      *total += quantized;
    }
  }

  void check_pictures() {
    const BlipImageProcessor processor =
        BlipImageProcessor::from_pretrained(folder(), report_.config ? modality() : "image");
    if (!report_.config || !processor.do_resize || !processor.size) return;
    const Index expected = config().vision().image_size;
    const auto& size =
        processor.do_center_crop && processor.crop_size ? *processor.crop_size : *processor.size;
    if (size.height.value_or(expected) == expected && size.width.value_or(expected) == expected) {
      return;
    }
    warn(has(kProcessor) ? kProcessor : "preprocessor_config.json",
         "makes images of " + shown(size.height) + " x " + shown(size.width) +
             " pixels, but the vision tower takes " + std::to_string(expected) + " x " +
             std::to_string(expected) + " unless interpolate_pos_encoding is set",
         "\"size\": {" + line("height", expected) + ", " + line("width", expected) + "}");
  }

  void check_query_tokens() {
    std::optional<std::int64_t>& found = placeholders_;
    if (has(kProcessor)) {
      const Json json = read_json_file<ConfigError>(folder() / kProcessor);
      found = JsonReader<ConfigError>(json, (folder() / kProcessor).string())
                  .get<std::int64_t>("num_query_tokens");
    }
    if (!report_.config) return;
    const Index expected = config().num_query_tokens;
    if (!found) {
      warn(kProcessor,
           "has no num_query_tokens, the number of placeholders per image (a checkpoint from "
           "before transformers 4.46)",
           has(kProcessor)
               ? line("num_query_tokens", expected)
               : "{" + line("num_query_tokens", expected) + ", \"processor_class\": \"" +
                     (!config().qformer_reads_text() ? "Blip2"
                      : modality() == "video"        ? "InstructBlipVideo"
                                                     : "InstructBlip") +
                     "Processor\"}");
    } else if (*found != expected) {
      fail(kProcessor,
           "num_query_tokens is " + std::to_string(*found) + ", but config.json has " +
               std::to_string(expected),
           line("num_query_tokens", expected));
    }
  }

  std::unique_ptr<Tokenizer> load_tokenizer() {
    if (!has("tokenizer_config.json")) {
      warn("tokenizer_config.json", "is missing; special tokens and padding sides are guessed",
           "download it from the checkpoint");
    }
    return source_.tokenizer();
  }

  void check_qformer_tokenizer() {
    const std::unique_ptr<Tokenizer> tokenizer = source_.qformer_tokenizer();
    if (!report_.config || tokenizer->size() <= config().qformer().vocab_size) return;
    fail("qformer_tokenizer",
         "has " + std::to_string(tokenizer->size()) +
             " tokens, but the Q-Former's embedding table has only " +
             std::to_string(config().qformer().vocab_size) + " rows",
         "download the qformer_tokenizer/ of this checkpoint");
  }

  // Without it the processor uses the language model's tokenizer, whose ids may be outside the
  // Q-Former's embedding table.
  void note_missing_qformer_tokenizer() {
    const bool fits =
        !report_.config || !tokenizer_ || tokenizer_->size() <= config().qformer().vocab_size;
    report_.findings.push_back(
        {fits ? Severity::Warning : Severity::Error, "qformer_tokenizer",
         "is missing; the Q-Former would get the ids of the language model's tokenizer",
         "download the folder qformer_tokenizer/ of the checkpoint"});
  }

  void check_tokenizer() {
    const std::string name =
        tokenizer_->special_token(modality() + "_token").value_or("<" + modality() + ">");
    const std::optional<std::int64_t> known = tokenizer_->token_to_id(name);
    const std::int64_t image = known.value_or(tokenizer_->size());
    check_image_token(name, image);
    if (tokenizer_->size() > text().vocab_size) {
      fail("tokenizer_config.json",
           "the tokenizer has " + std::to_string(tokenizer_->size()) +
               " tokens, but the language model's embedding table has only " +
               std::to_string(text().vocab_size) + " rows",
           "download the tokenizer files of this checkpoint");
    }
    if (const auto eos = tokenizer_->eos_token_id()) {
      const Ids& found = text().eos_token_id;
      if (std::find(found.begin(), found.end(), *eos) == found.end()) {
        warn(kConfig,
             "text_config has eos_token_id " + shown(found) + ", but the tokenizer has " +
                 shown(eos) + ", where generate would not stop",
             "in \"text_config\": " + line("eos_token_id", *eos));
        report_.findings.back().settled_by_load = true;
      }
    }
    compare_id("bos_token_id", text().bos_token_id, tokenizer_->bos_token_id());
    compare_id("pad_token_id", text().pad_token_id, tokenizer_->pad_token_id());
  }

  void check_image_token(const std::string& name, std::int64_t expected) {
    const std::optional<std::int64_t> found = config().image_token_index;
    if (!found) {
      if (expected < text().vocab_size) {
        warn(kConfig,
             "has no " + token_key() + " (a checkpoint from before transformers 4.46)" +
                 (placeholders_ ? ", so the processor's " + std::to_string(*placeholders_) +
                                      " placeholders would be read as text"
                                : ""),
             line(token_key(), expected));
      } else {
        warn(kConfig,
             "has no " + token_key() + ", and the embedding table (" +
                 std::to_string(text().vocab_size) + " rows) has no row for \"" + name +
                 "\": image features are put before the text",
             "");
      }
    } else if (*found != expected) {
      fail(kConfig,
           token_key() + " is " + std::to_string(*found) + ", but the processor uses \"" + name +
               "\", id " + std::to_string(expected) + ": the " + modality() +
               " would have no influence",
           line(token_key(), expected));
    }
  }

  void compare_id(const std::string& key, std::optional<std::int64_t> found,
                  std::optional<std::int64_t> expected) {
    if (!found || !expected || *found == *expected) return;
    if (*found < 0 || *found >= text().vocab_size) return;  // check_own_ids reports it
    warn(kConfig,
         "text_config's " + key + " is " + shown(found) + ", but the tokenizer's is " +
             shown(expected),
         "in \"text_config\": " + line(key, *expected));
  }

  // Ids outside the vocabulary, whatever the tokenizer says.
  void check_own_ids() {
    const auto check = [&](const std::string& key, std::optional<std::int64_t> id) {
      if (!id || (*id >= 0 && *id < text().vocab_size)) return;
      const bool has_remedy = key == "pad_token_id" && tokenizer_ && tokenizer_->pad_token_id();
      warn(kConfig,
           "text_config's " + key + " is " + std::to_string(*id) +
               ", outside the vocabulary (0 to " + std::to_string(text().vocab_size - 1) + ")",
           has_remedy ? "in \"text_config\": " + line(key, *tokenizer_->pad_token_id())
                      : "in \"text_config\": set \"" + key + "\" to an id of the vocabulary");
    };
    check("bos_token_id", text().bos_token_id);
    check("pad_token_id", text().pad_token_id);
    check("decoder_start_token_id", text().decoder_start_token_id);
    for (const std::int64_t id : text().eos_token_id) check("eos_token_id", id);
    if (!text().is_decoder_only() && !text().decoder_start_token_id) {
      fail(
          kConfig, "text_config has no decoder_start_token_id, the first id of an answer",
          "in \"text_config\": " + line("decoder_start_token_id", text().pad_token_id.value_or(0)));
    }
    if (config().image_token_index &&
        (*config().image_token_index < 0 || *config().image_token_index >= text().vocab_size)) {
      fail(kConfig,
           token_key() + " is " + std::to_string(*config().image_token_index) +
               ", but the embedding table has only " + std::to_string(text().vocab_size) + " rows",
           "add a row for the " + modality() +
               " token to the embedding table, and increase vocab_size");
    }
  }

  // `generate` uses the ids of text_config and ignores generation_config.json.
  void check_generation() {
    const Json json = read_json_file<ConfigError>(folder() / kGeneration);
    JsonReader<ConfigError> reader(json, (folder() / kGeneration).string());
    const Ids settled_ends =
        detail::end_of_text(text(), tokenizer_ ? tokenizer_->eos_token_id() : std::nullopt);
    const auto compare = [&](const std::string& key, const Ids& used) {
      if (!reader.has(key)) return;
      const Json& value = *reader.find(key);
      const Ids found =
          value.is_array() ? reader.require<Ids>(key) : Ids{reader.require<std::int64_t>(key)};
      if (found == used) return;
      warn(kGeneration,
           key + " is " + shown(found) + ", but generate uses text_config's " + shown(used),
           "in config.json, \"text_config\": \"" + key + "\": " + value.dump());
      report_.findings.back().settled_by_load = key == "eos_token_id" && found == settled_ends;
    };
    const auto one = [](std::optional<std::int64_t> id) { return id ? Ids{*id} : Ids{}; };
    compare("eos_token_id", text().eos_token_id);
    compare("bos_token_id", one(text().bos_token_id));
    compare("pad_token_id", one(text().pad_token_id));
    compare("decoder_start_token_id", one(text().decoder_start_token_id));
  }

  const detail::FolderSource& source_;
  FolderReport report_;
  std::optional<std::int64_t> placeholders_;  // num_query_tokens of processor_config.json
  std::unique_ptr<Tokenizer> tokenizer_;
};

}  // namespace

std::string to_string(const FolderFinding& finding) {
  std::string text = finding.file + ": " + finding.problem;
  if (!finding.remedy.empty()) text += ". Change: " + finding.remedy;
  return text;
}

bool FolderReport::is_usable() const {
  return std::none_of(findings.begin(), findings.end(), [](const FolderFinding& finding) {
    return finding.severity == Severity::Error;
  });
}

FolderReport detail::check_opened_folder(const fs::path& folder, const FolderSource& source) {
  require_folder<ConfigError>(folder);
  return FolderChecker(folder, source).run();
}

FolderReport check_folder(const fs::path& folder, const std::optional<fs::path>& adapter) {
  return detail::check_opened_folder(
      folder, {.config = [&] { return load_image_text_to_text_config(folder); },
               .checkpoint = [&] { return detail::open_checkpoint(folder, {.adapter = adapter}); },
               .tokenizer = [&] { return AutoTokenizer::from_pretrained(folder); },
               .qformer_tokenizer =
                   [&] { return AutoTokenizer::from_pretrained(folder / "qformer_tokenizer"); }});
}

}  // namespace instructblip
