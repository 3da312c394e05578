#include "instructblip/processing/image_text_to_text_processor.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/json_reader.h"
#include "instructblip/core/error.h"
#include "instructblip/core/log.h"
#include "instructblip/processing/processing_blip_2.h"
#include "instructblip/processing/processing_instructblip.h"
#include "instructblip/processing/processing_instructblipvideo.h"

namespace instructblip {
namespace {

// The limit of image placeholders per image (as InstructBlipConfig's) and of images per text.
constexpr Index kMost = 1 << 16;

void require_count(const char* name, Index value) {
  if (value >= 0 && value <= kMost) return;
  throw InputError(std::string(name) + " is " + std::to_string(value) + ", expected 0 to " +
                   std::to_string(kMost));
}

// An empty object if the file does not exist.
Json read_if_present(const std::filesystem::path& path) {
  return is_file(path) ? read_json_file(path) : Json::object();
}

std::optional<Index> read_count(const JsonValue& json) {
  const auto found = json.get("num_query_tokens");
  return found ? std::optional<Index>(found->whole_number(0, kMost)) : std::nullopt;
}

bool has_id(const JsonValue& json, const std::string& key) {
  const auto found = json.get(key.c_str());
  if (found) found->whole_number(0);
  return found.has_value();
}

// The number of processor_config.json, or that of config.json if the model expects placeholders.
std::optional<Index> find_num_query_tokens(const std::filesystem::path& folder,
                                           const std::string& modality = "image") {
  const auto processor_path = folder / "processor_config.json", model_path = folder / "config.json";
  const Json processor = read_if_present(processor_path);
  const JsonReader<ConfigError> own(processor, processor_path.string());
  if (const auto number = read_count(own)) return number;
  const Json config = read_if_present(model_path);
  const JsonReader<ConfigError> model(config, model_path.string());
  const auto number = read_count(model);
  const std::string token = modality + "_token_";
  const bool has_image_token = has_id(model, token + "index") || has_id(model, token + "id");
  if (!number || !has_image_token) {
    log_warning(
        folder.string() +
        " has no num_query_tokens: no image placeholders are inserted into the text; the "
        "model puts the image features before it. To change this, add \"num_query_tokens\" to "
        "processor_config.json and \"" +
        token + "index\" to config.json");
    return std::nullopt;
  }
  log_warning(processor_path.string() +
              " has no num_query_tokens; using that of config.json. Add this line to the file: "
              "\"num_query_tokens\": " +
              std::to_string(*number));
  return number;
}

std::optional<Side> find_padding_side(const std::filesystem::path& folder) {
  const auto path = folder / "tokenizer_config.json";
  const Json json = read_if_present(path);
  const auto side = JsonReader<ConfigError>(json, path.string()).get("padding_side");
  if (!side) return std::nullopt;
  if (side->json() == "left") return Side::Left;
  if (side->json() == "right") return Side::Right;
  side->expected("\"left\" or \"right\"");
}

// Whether config.json says that the language model is T5.
bool names_t5(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  const Json json = read_if_present(path);
  const auto text = JsonReader<ConfigError>(json, path.string()).get("text_config");
  return text && text->get_or<std::string>("model_type", "") == "t5";
}

// The side on which the folder wants the language model's text to be padded; nothing: on the
// tokenizer's. T5's relative positions count the padding between the image placeholders and the
// text, so that it has to be on the right.
std::optional<Side> choose_padding_side(const std::filesystem::path& folder,
                                        const Tokenizer& tokenizer) {
  const std::optional<Side> side = find_padding_side(folder);
  const bool is_t5 =
      tokenizer.class_name() == "T5Tokenizer" || (side == Side::Left && names_t5(folder));
  return is_t5 ? Side::Right : side;
}

std::vector<std::string> repeat_each(const std::vector<std::string>& texts, Index times) {
  std::vector<std::string> repeated;
  for (const std::string& text : texts) {
    repeated.insert(repeated.end(), to_size(times), text);
  }
  return repeated;
}

}  // namespace

ImageTextToTextProcessor::ImageTextToTextProcessor(BlipImageProcessor image_processor,
                                                   std::unique_ptr<Tokenizer> tokenizer,
                                                   std::unique_ptr<Tokenizer> qformer_tokenizer,
                                                   std::optional<Index> num_query_tokens,
                                                   std::string modality)
    : image_processor_(std::move(image_processor)),
      tokenizer_(std::move(tokenizer)),
      qformer_tokenizer_(std::move(qformer_tokenizer)),
      num_query_tokens_(num_query_tokens),
      modality_(std::move(modality)) {
  if (!tokenizer_) throw InputError("the processor's tokenizer must not be null");
  require_count("num_query_tokens", num_query_tokens_.value_or(0));
  if (const auto named = tokenizer_->special_token(modality_ + "_token")) {
    image_token_ = *named;
  } else {
    image_token_ = "<" + modality_ + ">";
    tokenizer_->add_tokens({{.content = image_token_, .normalized = false, .special = true}}, true);
  }
  image_token_id_ = tokenizer_->token_to_id(image_token_).value();
}

ImageTextToTextProcessor::ImageTextToTextProcessor(const ImageTextToTextProcessor& other)
    : image_processor_(other.image_processor_),
      tokenizer_(other.tokenizer_->clone()),
      qformer_tokenizer_(other.qformer_tokenizer_ ? other.qformer_tokenizer_->clone() : nullptr),
      num_query_tokens_(other.num_query_tokens_),
      configured_padding_side_(other.configured_padding_side_),
      modality_(other.modality_),
      image_token_(other.image_token_),
      image_token_id_(other.image_token_id_) {}

ImageTextToTextProcessor::ImageTextToTextProcessor(ImageTextToTextProcessor&& other) noexcept =
    default;

ImageTextToTextProcessor& ImageTextToTextProcessor::operator=(
    ImageTextToTextProcessor other) noexcept {
  image_processor_ = std::move(other.image_processor_);
  tokenizer_ = std::move(other.tokenizer_);
  qformer_tokenizer_ = std::move(other.qformer_tokenizer_);
  num_query_tokens_ = other.num_query_tokens_;
  configured_padding_side_ = other.configured_padding_side_;
  modality_ = std::move(other.modality_);
  image_token_ = std::move(other.image_token_);
  image_token_id_ = other.image_token_id_;
  return *this;
}

ImageTextToTextProcessor::~ImageTextToTextProcessor() = default;

namespace {

std::unique_ptr<Tokenizer> load_qformer_tokenizer(const std::filesystem::path& folder,
                                                  const Tokenizer& tokenizer) {
  if (std::filesystem::is_directory(folder / "qformer_tokenizer")) {
    return AutoTokenizer::from_pretrained(folder / "qformer_tokenizer");
  }
  log_warning(folder.string() +
              " has no folder qformer_tokenizer; the Q-Former's text is tokenized with "
              "the language model's tokenizer. Copy the checkpoint's qformer_tokenizer there.");
  return tokenizer.clone();
}

struct ProcessorClass {
  std::string_view model_type, processor_class;
  ImageTextToTextProcessor (*load)(const std::filesystem::path& folder,
                                   const TokenizerOptions& options);
};

template <class Processor>
constexpr ProcessorClass processor_class(std::string_view model_type, std::string_view name) {
  return {model_type, name,
          [](const std::filesystem::path& folder, const TokenizerOptions& options)
              -> ImageTextToTextProcessor { return Processor::from_pretrained(folder, options); }};
}

// One line per model. The first is the default.
constexpr ProcessorClass kProcessorClasses[] = {
    processor_class<InstructBlipProcessor>("instructblip", "InstructBlipProcessor"),
    processor_class<Blip2Processor>("blip-2", "Blip2Processor"),
    processor_class<InstructBlipVideoProcessor>("instructblipvideo", "InstructBlipVideoProcessor"),
};

// The value of `key` in a file of the folder; "" if there is none.
std::string find_name(const std::filesystem::path& path, const char* key) {
  const Json json = read_if_present(path);
  return JsonReader<ConfigError>(json, path.string()).get_or<std::string>(key, "");
}

}  // namespace

ImageTextToTextProcessor ImageTextToTextProcessor::from_pretrained(
    const std::filesystem::path& folder, const TokenizerOptions& options, std::string model_type) {
  require_folder<ConfigError>(folder);
  if (model_type.empty()) model_type = find_name(folder / "config.json", "model_type");
  const std::string name = model_type.empty()
                               ? find_name(folder / "processor_config.json", "processor_class")
                               : std::string();
  const auto* const found = std::find_if(
      std::begin(kProcessorClasses), std::end(kProcessorClasses), [&](const ProcessorClass& known) {
        return model_type.empty() ? known.processor_class == name : known.model_type == model_type;
      });
  return (found == std::end(kProcessorClasses) ? kProcessorClasses : found)->load(folder, options);
}

void ImageTextToTextProcessor::use_padding_side(const std::filesystem::path& folder,
                                                const TokenizerOptions& options) {
  configured_padding_side_ =
      options.padding_side ? options.padding_side : choose_padding_side(folder, *tokenizer_);
}

InstructBlipProcessor::InstructBlipProcessor(BlipImageProcessor image_processor,
                                             std::unique_ptr<Tokenizer> tokenizer,
                                             std::unique_ptr<Tokenizer> qformer_tokenizer,
                                             std::optional<Index> num_query_tokens)
    : ImageTextToTextProcessor(std::move(image_processor), std::move(tokenizer),
                               std::move(qformer_tokenizer), num_query_tokens) {
  if (find_qformer_tokenizer() == nullptr) {
    throw InputError("InstructBlipProcessor: qformer_tokenizer must not be null");
  }
}

InstructBlipVideoProcessor::InstructBlipVideoProcessor(BlipImageProcessor video_processor,
                                                       std::unique_ptr<Tokenizer> tokenizer,
                                                       std::unique_ptr<Tokenizer> qformer_tokenizer,
                                                       std::optional<Index> num_query_tokens)
    : ImageTextToTextProcessor(std::move(video_processor), std::move(tokenizer),
                               std::move(qformer_tokenizer), num_query_tokens, "video") {
  if (find_qformer_tokenizer() == nullptr) {
    throw InputError("InstructBlipVideoProcessor: qformer_tokenizer must not be null");
  }
}

namespace {

// A processor of a class whose Q-Former has a tokenizer.
template <class Processor>
Processor load_instructed(const std::filesystem::path& folder, const TokenizerOptions& options,
                          const std::string& modality) {
  require_folder<ConfigError>(folder);
  BlipImageProcessor image_processor = BlipImageProcessor::from_pretrained(folder, modality);
  std::unique_ptr<Tokenizer> tokenizer = AutoTokenizer::from_pretrained(folder, options);
  auto qformer_tokenizer = load_qformer_tokenizer(folder, *tokenizer);
  return Processor(std::move(image_processor), std::move(tokenizer), std::move(qformer_tokenizer),
                   find_num_query_tokens(folder, modality));
}

}  // namespace

InstructBlipProcessor InstructBlipProcessor::from_pretrained(const std::filesystem::path& folder,
                                                             const TokenizerOptions& options) {
  auto processor = load_instructed<InstructBlipProcessor>(folder, options, "image");
  processor.use_padding_side(folder, options);
  return processor;
}

InstructBlipVideoProcessor InstructBlipVideoProcessor::from_pretrained(
    const std::filesystem::path& folder, const TokenizerOptions& options) {
  auto processor = load_instructed<InstructBlipVideoProcessor>(folder, options, "video");
  processor.use_padding_side(folder, options);
  return processor;
}

Blip2Processor::Blip2Processor(BlipImageProcessor image_processor,
                               std::unique_ptr<Tokenizer> tokenizer,
                               std::optional<Index> num_query_tokens)
    : ImageTextToTextProcessor(std::move(image_processor), std::move(tokenizer), nullptr,
                               num_query_tokens) {}

Blip2Processor Blip2Processor::from_pretrained(const std::filesystem::path& folder,
                                               const TokenizerOptions& options) {
  require_folder<ConfigError>(folder);
  Blip2Processor processor(BlipImageProcessor::from_pretrained(folder),
                           AutoTokenizer::from_pretrained(folder, options),
                           find_num_query_tokens(folder));
  processor.use_padding_side(folder, options);
  return processor;
}

void ImageTextToTextProcessor::save_pretrained(const std::filesystem::path& folder) const {
  tokenizer_->save_pretrained(folder);
  if (qformer_tokenizer_) qformer_tokenizer_->save_pretrained(folder / "qformer_tokenizer");
  using Ordered = nlohmann::ordered_json;
  Ordered json;
  Ordered settings = Ordered::parse(image_processor_.to_json());
  if (modality_ == "video") {
    settings.erase("image_processor_type");
    settings["video_processor_type"] = "InstructBlipVideoVideoProcessor";
  }
  json[modality_ + "_processor"] = std::move(settings);
  json["num_query_tokens"] = num_query_tokens_ ? Ordered(*num_query_tokens_) : Ordered();
  json["processor_class"] = !qformer_tokenizer_    ? "Blip2Processor"
                            : modality_ == "video" ? "InstructBlipVideoProcessor"
                                                   : "InstructBlipProcessor";
  write_text_file(folder / "processor_config.json", json.dump(2) + "\n");
}

namespace {

// pixel_values of images -> [videos, frames, channels, height, width]. 0 frames: those of one
// video.
void group_frames(Tensor& pixel_values, Index frames) {
  Shape shape = pixel_values.shape();
  const Index images = shape[0];
  if (frames == 0) frames = images;
  if (images % frames != 0) {
    throw InputError("num_images is " + std::to_string(frames) + ", but there are " +
                     std::to_string(images) + " frames: each video needs the same number");
  }
  shape.insert(shape.begin() + 1, frames);
  shape[0] = images / frames;
  pixel_values = pixel_values.reshaped(shape);
}

// "1 text", "2 texts".
std::string counted(std::size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

}  // namespace

Index ImageTextToTextProcessor::images_per_text(std::size_t images, std::size_t texts,
                                                const ProcessingKwargs& kwargs) const {
  require_count("num_images", kwargs.num_images.value_or(0));
  if (texts == 0 || images == 0) return kwargs.num_images.value_or(0);
  const bool compares = images == 1 && !qformer_tokenizer_;  // as Blip2ForImageTextRetrieval does
  const auto per_text = compares ? Index{1} : static_cast<Index>(images / texts);
  if ((images % texts != 0 && !compares) || (kwargs.num_images && *kwargs.num_images != per_text)) {
    throw InputError(
        counted(images, "image") + " for " + counted(texts, "text") +
        (kwargs.num_images ? " and num_images = " + std::to_string(*kwargs.num_images) : "") +
        ": every text needs the same number of images. To ask several questions about one image, "
        "encode it once and pass its features to generate");
  }
  if (per_text > 1 && !kwargs.num_images && modality_ == "image") {
    log_warning(counted(images, "image") + " for " + counted(texts, "text") + ": every " +
                std::to_string(per_text) +
                " images are taken as views of one sample, which gets one answer. For an answer "
                "about each image, repeat the text; if this is meant, set num_images = " +
                std::to_string(per_text));
  }
  return per_text;
}

void ImageTextToTextProcessor::encode_text(const std::vector<std::string>& text,
                                           Index images_per_text, const ProcessingKwargs& kwargs,
                                           BatchFeature& features) const {
  EncodeOptions options{.add_special_tokens = kwargs.add_special_tokens,
                        .padding = kwargs.padding,
                        .truncation = kwargs.truncation,
                        .max_length = kwargs.max_length,
                        .pad_to_multiple_of = kwargs.pad_to_multiple_of,
                        .padding_side = kwargs.padding_side};
  // As step 5 of _merge_kwargs in the reference, which applies it to the Q-Former's text, too.
  if (!options.padding_side) options.padding_side = configured_padding_side_;

  if (qformer_tokenizer_) {
    EncodeOptions qformer_options = options;
    qformer_options.padding_side = kwargs.qformer_padding_side;
    const bool repeats = images_per_text > 1 && modality_ == "image";
    const BatchEncoding qformer =
        (*qformer_tokenizer_)(repeats ? repeat_each(text, images_per_text) : text, qformer_options);
    features.qformer_input_ids = to_tensor(qformer.input_ids);
    features.qformer_attention_mask = to_tensor(qformer.attention_mask);
  }

  const Index placeholders = num_query_tokens_.value_or(0) * std::max<Index>(1, images_per_text);
  if (options.max_length) {
    const Index included = modality_ == "video" ? num_query_tokens_.value_or(0) : placeholders;
    if (*options.max_length < included) {
      throw InputError(
          "max_length is " + std::to_string(*options.max_length) + ", but the " +
          std::to_string(included) +
          " image placeholders count, too: raise it to their number plus that of the text's ids");
    }
    options.max_length = *options.max_length - included;
  }
  const BatchEncoding encoding = (*tokenizer_)(text, options);
  features.input_ids = to_tensor(encoding.input_ids);
  features.attention_mask = to_tensor(encoding.attention_mask);
  if (images_per_text == 0 || !num_query_tokens_) return;
  features.input_ids = prepend_columns(features.input_ids, placeholders, image_token_id_);
  features.attention_mask = prepend_columns(features.attention_mask, placeholders, 1);
}

BatchFeature ImageTextToTextProcessor::process(std::span<const Image> images,
                                               const std::vector<std::string>& text,
                                               const ProcessingKwargs& kwargs) const {
  if (images.empty() && text.empty()) {
    throw InputError("no image and no text given: pass the processor images, texts or both");
  }
  const Index per_text = images_per_text(images.size(), text.size(), kwargs);
  BatchFeature features;
  if (!text.empty()) encode_text(text, per_text, kwargs, features);
  if (!images.empty()) {
    features.pixel_values = image_processor_.preprocess(images, kwargs.images_kwargs);
    if (modality_ == "video") group_frames(features.pixel_values, per_text);
  }
  return features;
}

std::string ImageTextToTextProcessor::decode(std::span<const std::int64_t> ids,
                                             const DecodeOptions& options) const {
  return tokenizer_->decode(ids, options);
}

std::string ImageTextToTextProcessor::decode(const TensorView& ids,
                                             const DecodeOptions& options) const {
  if (ids.rank() != 1 || ids.dtype != DType::Int64) {
    throw InputError("decode takes an int64 tensor [length], found " +
                     std::string(name_of(ids.dtype)) + " " + to_string(ids.shape) +
                     "; batch_decode takes [rows, length]");
  }
  return tokenizer_->decode(Tensor::copy_of(ids).span<std::int64_t>(), options);
}

std::vector<std::string> ImageTextToTextProcessor::batch_decode(
    const std::vector<std::vector<std::int64_t>>& sequences, const DecodeOptions& options) const {
  return tokenizer_->batch_decode(sequences, options);
}

std::vector<std::string> ImageTextToTextProcessor::batch_decode(
    const TensorView& sequences, const DecodeOptions& options) const {
  return tokenizer_->batch_decode(sequences, options);
}

}  // namespace instructblip
