#include "generation/prompt.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "instructblip/core/error.h"
#include "instructblip/core/index.h"

namespace instructblip::detail {
namespace {

// A copy of ids [batch, any length]. A `batch` of -1 stands for any number of prompts.
Tensor checked_ids(const TensorView& view, std::string_view name, Index batch) {
  if (view.dtype != DType::Int64 || view.rank() != 2 || !view.is_contiguous()) {
    throw InputError("`" + std::string(name) + "`: expected a contiguous int64 tensor [batch, " +
                     "length], found " + std::string(name_of(view.dtype)) + " " +
                     to_string(view.shape));
  }
  if (batch >= 0 && view.dim(0) != batch) {
    throw InputError("`" + std::string(name) + "` is " + to_string(view.shape) + ", expected " +
                     std::to_string(batch) + " rows, as many as there are prompts");
  }
  return Tensor::copy_of(view);
}

// Special ids of a text_config may be no ids of the vocabulary; those of a GenerationConfig are
// checked before.
void require_fed_id(std::int64_t id, const std::string& name, const LanguageModelTraits& traits) {
  if (id >= 0 && id < traits.vocab_size) return;
  throw InputError("`" + name + "` is " + std::to_string(id) + ", which begins the prompt, but " +
                   "the vocabulary's ids are 0 to " + std::to_string(traits.vocab_size - 1) +
                   "; set it in the GenerationConfig or the text_config");
}

Tensor bos_prompt(const ResolvedConfig& resolved, const LanguageModelTraits& traits) {
  if (!resolved.bos_token_id) {
    throw InputError("`bos_token_id` has to be set if neither `input_ids` nor `inputs_embeds` are");
  }
  require_fed_id(*resolved.bos_token_id, "bos_token_id", traits);
  return Tensor(std::vector<std::int64_t>{*resolved.bos_token_id}, {1, 1});
}

// The positions of the ids that are not padding. As in the reference, ids that equal the padding id
// are padding if there is no mask, unless the padding id is also an eos id.
PaddedBatch batch_of_ids(const Tensor& ids, const TensorView& attention_mask,
                         const ResolvedConfig& resolved) {
  const std::vector<std::int64_t>& eos = resolved.eos_token_id;
  const std::optional<std::int64_t> pad = resolved.pad_token_id;
  if (attention_mask.has_value() || !pad || std::find(eos.begin(), eos.end(), *pad) != eos.end()) {
    return PaddedBatch(ids.dim(0), ids.dim(1), attention_mask);
  }
  Tensor inferred = ids;
  for (std::int64_t& value : inferred.span<std::int64_t>()) value = value == *pad ? 0 : 1;
  return PaddedBatch(ids.dim(0), ids.dim(1), inferred);
}

// decoder_input_ids, after the start id unless a row begins with it.
Tensor decoder_prompt(const GenerateInputs& inputs, const ResolvedConfig& resolved,
                      const LanguageModelTraits& traits, Index batch) {
  if (!resolved.decoder_start_token_id || resolved.decoder_start_token_id->empty()) {
    throw InputError(
        "`decoder_start_token_id` or `bos_token_id` has to be set for an "
        "encoder-decoder, in the text_config or the GenerationConfig");
  }
  std::vector<std::int64_t> start = *resolved.decoder_start_token_id;
  for (const std::int64_t id : start) require_fed_id(id, "decoder_start_token_id", traits);
  if (start.size() == 1) start.resize(to_size(batch), start[0]);
  if (static_cast<Index>(start.size()) != batch) {
    throw InputError("`decoder_start_token_id` holds " + std::to_string(start.size()) +
                     " ids, expected 1 or one for each of the " + std::to_string(batch) +
                     " prompts");
  }
  if (!inputs.decoder_input_ids.has_value()) return Tensor(start, {batch, 1});

  const Tensor given = checked_ids(inputs.decoder_input_ids, "decoder_input_ids", batch);
  const Index length = given.dim(1);
  const std::int64_t* row = given.data<std::int64_t>();
  std::vector<std::int64_t> ids;
  for (Index b = 0; b < batch; ++b, row += length) {
    if (length > 0 && row[0] == at(start, b)) return given;
    ids.push_back(at(start, b));
    ids.insert(ids.end(), row, row + length);
  }
  return Tensor(ids, {batch, length + 1});
}

void check_embeddings(const PaddedBatch& batch, MatrixView embeddings, Index width) {
  const auto columns = static_cast<Index>(batch.columns.size());
  const auto positions = static_cast<Index>(batch.rows.positions.size());
  if (embeddings.dtype != DType::Float32 || embeddings.cols != width ||
      embeddings.rows != columns || embeddings.rows != positions ||
      embeddings.rows != batch.rows.rows()) {
    throw InputError("`inputs_embeds` is " + std::string(name_of(embeddings.dtype)) + " [" +
                     std::to_string(embeddings.rows) + ", " + std::to_string(embeddings.cols) +
                     "], expected float32 [" + std::to_string(batch.rows.rows()) + ", " +
                     std::to_string(width) + "]: `batch` has " + std::to_string(batch.rows.rows()) +
                     " rows, " + std::to_string(columns) + " columns and " +
                     std::to_string(positions) + " positions");
  }
  for (const Index column : batch.columns) {
    if (column >= 0 && column < batch.length) continue;
    throw InputError("`batch` names column " + std::to_string(column) + ", expected 0 to " +
                     std::to_string(batch.length - 1));
  }
}

void check_batch(const PaddedBatch& batch) {
  if (batch.batch == 0) throw InputError("there is no prompt: the batch is empty");
  if (batch.rows.sequences() != batch.batch) {
    throw InputError("`batch` has rows of " + std::to_string(batch.rows.sequences()) +
                     " prompts, expected " + std::to_string(batch.batch));
  }
  for (Index b = 0; b < batch.batch; ++b) {
    if (batch.rows.count(b) > 0) continue;
    throw InputError("prompt " + std::to_string(b) +
                     " of the batch is empty: every position is masked, or no ids were given");
  }
}

// The ids of prompts that are given as embeddings. The model does not read them.
Tensor ids_of_embeddings(const GenerateInputs& inputs) {
  if (!inputs.input_ids.has_value()) return Tensor(DType::Int64, {inputs.batch.batch, 0});
  Tensor ids = checked_ids(inputs.input_ids, "input_ids", inputs.batch.batch);
  if (ids.dim(1) > inputs.batch.length) {
    throw InputError("`input_ids` is " + to_string(ids.shape()) +
                     ", but the padded prompts of `batch` are only " +
                     std::to_string(inputs.batch.length) + " long");
  }
  return ids;
}

}  // namespace

Prompt prepare_prompt(const LanguageModel& model, const GenerateInputs& inputs,
                      const ResolvedConfig& resolved) {
  const LanguageModelTraits& traits = model.traits();
  Prompt prompt;
  prompt.is_encoder_decoder = traits.is_encoder_decoder;
  if (inputs.decoder_input_ids.has_value() && !traits.is_encoder_decoder) {
    throw InputError(
        "`decoder_input_ids` were given to a decoder-only model: append the beginning of the "
        "answer "
        "to `input_ids` instead");
  }
  if (inputs.inputs_embeds.data != nullptr || inputs.batch.batch > 0) {
    if (inputs.batch.batch == 0) {
      throw InputError(
          "`inputs_embeds` needs `batch`, which says where its rows lie in the prompts");
    }
    prompt.batch = inputs.batch;
    check_batch(prompt.batch);
    prompt.embeddings = inputs.inputs_embeds;
    prompt.ids = ids_of_embeddings(inputs);
  } else {
    prompt.ids = inputs.input_ids.has_value() ? checked_ids(inputs.input_ids, "input_ids", -1)
                                              : bos_prompt(resolved, traits);
    prompt.batch = batch_of_ids(prompt.ids, inputs.attention_mask, resolved);
    check_batch(prompt.batch);
    prompt.embedded = model.embed_tokens(prompt.batch.gather_ids(prompt.ids));
    prompt.embeddings = prompt.embedded;
  }
  check_embeddings(prompt.batch, prompt.embeddings, traits.embedding_size);
  if (traits.is_encoder_decoder) {
    prompt.encoder_ids = std::move(prompt.ids);
    prompt.ids = decoder_prompt(inputs, resolved, traits, prompt.size());
  } else {  // an encoder's relative positions include padding
    prompt.batch.use_compact_positions();
  }
  return prompt;
}

}  // namespace instructblip::detail
