#include "generation/decoding.h"

#include <algorithm>
#include <string>
#include <utility>

#include "instructblip/core/error.h"

namespace instructblip::detail {

void check_ids(const TensorView& view, std::string_view name, Index batch, Index length) {
  if (view.dtype != DType::Int64 || view.rank() != 2 || !view.is_contiguous()) {
    throw InputError("`" + std::string(name) + "`: expected a contiguous int64 tensor [batch, " +
                     "length], found " + std::string(name_of(view.dtype)) + " " +
                     to_string(view.shape));
  }
  if ((batch >= 0 && view.dim(0) != batch) || (length >= 0 && view.dim(1) != length)) {
    throw InputError("`" + std::string(name) + "` is " + to_string(view.shape) + ", expected " +
                     (batch >= 0 ? std::to_string(batch) : "any number of") + " rows of " +
                     (length >= 0 ? std::to_string(length) : "any number of") +
                     " ids: the shape that the other inputs have");
  }
}

std::vector<std::vector<std::int64_t>> to_rows(const TensorView& view) {
  const auto* values = static_cast<const std::int64_t*>(view.data);
  std::vector<std::vector<std::int64_t>> rows;
  for (Index r = 0; r < view.dim(0); ++r) {
    rows.emplace_back(values + r * view.dim(1), values + (r + 1) * view.dim(1));
  }
  return rows;
}

// The prompts' ids: as given, or BOS; none where embeddings stand for them.
std::vector<std::vector<std::int64_t>> prompt_ids(const GenerateInputs& inputs,
                                                  const ResolvedConfig& resolved,
                                                  const Prompt& prompt) {
  if (is_given(inputs.input_ids) && !(prompt.is_encoder_decoder && prompt.has_embeds)) {
    check_ids(inputs.input_ids, "input_ids", prompt.has_embeds ? inputs.rows.sequences() : -1, -1);
    return to_rows(inputs.input_ids);
  }
  if (prompt.has_embeds) return {};
  if (!resolved.bos_token_id) {
    throw InputError(
        "`bos_token_id` has to be set where neither `input_ids` nor "
        "`inputs_embeds` are given");
  }
  return {std::vector<std::int64_t>{*resolved.bos_token_id}};
}

std::vector<std::vector<std::int64_t>> given_mask(const GenerateInputs& inputs,
                                                  const std::vector<std::vector<std::int64_t>>& ids,
                                                  Index batch) {
  const Index width = ids.empty() ? -1 : static_cast<Index>(ids[0].size());
  const bool wider = inputs.inputs_embeds.data != nullptr && inputs.attention_mask.rank() == 2 &&
                     inputs.attention_mask.dim(1) > width;
  check_ids(inputs.attention_mask, "attention_mask", batch, wider ? -1 : width);
  return to_rows(inputs.attention_mask);
}

// Prompts of embeddings alone are as if padded on the left.
std::vector<std::vector<std::int64_t>> left_padded_mask(const RowTable& rows) {
  Index length = 0;
  for (Index s = 0; s < rows.sequences(); ++s) length = std::max(length, rows.count(s));
  std::vector<std::vector<std::int64_t>> mask;
  for (Index s = 0; s < rows.sequences(); ++s) {
    std::vector<std::int64_t>& row = mask.emplace_back(static_cast<std::size_t>(length), 1);
    std::fill_n(row.begin(), length - rows.count(s), 0);
  }
  return mask;
}

// 1 where a column is not padding. Without a mask the reference takes what equals the padding id
// for padding, unless that id also ends rows or only embeddings are known.
std::vector<std::vector<std::int64_t>> attention_mask_of(
    const GenerateInputs& inputs, const ResolvedConfig& resolved,
    const std::vector<std::vector<std::int64_t>>& ids, Index batch) {
  if (is_given(inputs.attention_mask)) return given_mask(inputs, ids, batch);
  if (ids.empty()) return left_padded_mask(inputs.rows);
  std::vector<std::vector<std::int64_t>> mask = ids;
  const std::optional<std::int64_t> pad = resolved.pad_token_id;
  const std::vector<std::int64_t>& eos = resolved.eos_token_id;
  const bool infer =
      !inputs.inputs_embeds.data && pad && std::find(eos.begin(), eos.end(), *pad) == eos.end();
  for (auto& row : mask) {
    for (std::int64_t& value : row) value = infer && value == *pad ? 0 : 1;
  }
  return mask;
}

std::vector<std::vector<std::int64_t>> decoder_prompt(const GenerateInputs& inputs,
                                                      const ResolvedConfig& resolved, Index batch) {
  if (!resolved.decoder_start_token_id || resolved.decoder_start_token_id->empty()) {
    throw InputError(
        "`decoder_start_token_id` or `bos_token_id` has to be set for an "
        "encoder-decoder, in the text_config or the GenerationConfig");
  }
  std::vector<std::int64_t> start = *resolved.decoder_start_token_id;
  if (start.size() == 1) start.resize(static_cast<std::size_t>(batch), start[0]);
  if (static_cast<Index>(start.size()) != batch) {
    throw InputError("`decoder_start_token_id` holds " + std::to_string(start.size()) +
                     " ids, expected 1 or one for each of the " + std::to_string(batch) +
                     " prompts");
  }
  std::vector<std::vector<std::int64_t>> ids(static_cast<std::size_t>(batch));
  bool prepend = true;
  if (is_given(inputs.decoder_input_ids)) {
    check_ids(inputs.decoder_input_ids, "decoder_input_ids", batch, -1);
    ids = to_rows(inputs.decoder_input_ids);
    for (std::size_t r = 0; r < ids.size(); ++r) {
      prepend = prepend && (ids[r].empty() || ids[r][0] != start[r]);
    }
  }
  for (std::size_t r = 0; r < ids.size() && prepend; ++r) ids[r].insert(ids[r].begin(), start[r]);
  return ids;
}

void check_rows(const RowTable& rows, MatrixView embeds, Index width) {
  if (embeds.dtype != DType::Float32 || embeds.cols != width || embeds.rows != rows.rows() ||
      static_cast<Index>(rows.positions.size()) != rows.rows()) {
    throw InputError("`inputs_embeds` is " + std::string(name_of(embeds.dtype)) + " [" +
                     std::to_string(embeds.rows) + ", " + std::to_string(embeds.cols) +
                     "] with a row table of " + std::to_string(rows.rows()) + " rows and " +
                     std::to_string(rows.positions.size()) + " positions, expected float32 [" +
                     std::to_string(rows.rows()) + ", " + std::to_string(width) + "]");
  }
  for (Index s = 0; s < rows.sequences(); ++s) {
    if (rows.count(s) > 0) continue;
    throw InputError("prompt " + std::to_string(s) +
                     " of the batch is empty: every position is "
                     "masked, or no ids were given");
  }
}

PreparedInputs prepare_inputs(const LanguageModel& model, const GenerateInputs& inputs,
                              const ResolvedConfig& resolved) {
  const LanguageModelTraits& traits = model.traits();
  PreparedInputs prepared;
  Prompt& prompt = prepared.prompt;
  prompt.is_encoder_decoder = traits.is_encoder_decoder;
  prompt.has_embeds = inputs.inputs_embeds.data != nullptr;
  if (is_given(inputs.decoder_input_ids) && !traits.is_encoder_decoder) {
    throw InputError(
        "`decoder_input_ids` were given to a decoder-only model, which has no use for "
        "them; the beginning of its answer belongs to input_ids");
  }
  std::vector<std::vector<std::int64_t>> ids = prompt_ids(inputs, resolved, prompt);
  const Index batch = prompt.has_embeds ? inputs.rows.sequences() : static_cast<Index>(ids.size());
  if (batch == 0) throw InputError("there is no prompt: the batch is empty");

  const std::vector<std::vector<std::int64_t>> mask =
      attention_mask_of(inputs, resolved, ids, batch);
  prompt.padded_length = static_cast<Index>(mask[0].size());
  std::vector<std::int64_t> fed;
  for (std::size_t r = 0; r < mask.size(); ++r) {
    std::vector<Index>& columns = prompt.valid_columns.emplace_back();
    for (Index column = 0; column < prompt.padded_length; ++column) {
      if (mask[r][static_cast<std::size_t>(column)] == 0) continue;
      columns.push_back(column);
      if (!prompt.has_embeds) fed.push_back(ids[r][static_cast<std::size_t>(column)]);
    }
    const auto count = static_cast<Index>(columns.size());
    if (!prompt.has_embeds) {
      prepared.rows.append(count);
      if (traits.is_encoder_decoder) {  // relative positions count padding
        std::copy(columns.begin(), columns.end(), prepared.rows.positions.end() - count);
      }
    } else if (count != inputs.rows.count(static_cast<Index>(r))) {
      throw InputError("prompt " + std::to_string(r) + " has " +
                       std::to_string(inputs.rows.count(static_cast<Index>(r))) +
                       " embeddings, but " + std::to_string(count) +
                       " positions that are not masked");
    }
  }
  if (prompt.has_embeds) {
    prepared.rows = inputs.rows;
    prepared.embeds = inputs.inputs_embeds;
  } else {
    prepared.embedded = model.embed_tokens(fed);
    prepared.embeds = prepared.embedded.view();
  }
  check_rows(prepared.rows, prepared.embeds, traits.embedding_size);

  if (traits.is_encoder_decoder) {
    prompt.ids = decoder_prompt(inputs, resolved, batch);
  } else {
    ids.resize(static_cast<std::size_t>(batch));
    prompt.ids = std::move(ids);
  }
  return prepared;
}

Tensor Decoding::decode(MatrixView embeddings, const RowTable& rows) {
  DecodeOutput output = model_.decode(*state_, embeddings, rows, LogitsFor::LastRow, capture_);
  const LanguageModelTraits& traits = model_.traits();
  if (output.logits.dtype() != DType::Float32 ||
      output.logits.shape() != Shape{rows.sequences(), traits.vocab_size}) {
    throw InputError("the language model gave logits " +
                     std::string(name_of(output.logits.dtype())) + " " +
                     to_string(output.logits.shape()) + ", expected float32 " +
                     to_string(Shape{rows.sequences(), traits.vocab_size}));
  }
  states_ = std::move(output.states);
  return std::move(output.logits);
}

Tensor Decoding::prefill(const PreparedInputs& inputs, Index expand_size) {
  const Index batch = inputs.prompt.batch();
  state_ = model_.start(inputs.embeds, inputs.rows, capture_);
  Tensor logits;
  next_positions_.clear();
  if (inputs.prompt.is_encoder_decoder) {
    const RowTable rows = RowTable::uniform(batch, inputs.prompt.length());
    std::vector<std::int64_t> ids;
    for (const auto& row : inputs.prompt.ids) ids.insert(ids.end(), row.begin(), row.end());
    logits = decode(model_.embed_decoder_tokens(ids), rows);
    next_positions_.assign(static_cast<std::size_t>(batch), inputs.prompt.length());
  } else {
    logits = decode(inputs.embeds, inputs.rows);
    for (Index s = 0; s < batch; ++s) {
      const Index last = inputs.rows.begin(s + 1) - 1;
      next_positions_.push_back(inputs.rows.positions[static_cast<std::size_t>(last)] + 1);
    }
  }
  if (expand_size > 1) {
    std::vector<Index> sources;
    std::vector<Index> positions;
    for (Index s = 0; s < batch; ++s) {
      sources.insert(sources.end(), static_cast<std::size_t>(expand_size), s);
      positions.insert(positions.end(), static_cast<std::size_t>(expand_size),
                       next_positions_[static_cast<std::size_t>(s)]);
    }
    state_->reorder(sources);
    next_positions_ = std::move(positions);
  }
  return logits;
}

Tensor Decoding::step(std::span<const Index> sources, std::span<const std::int64_t> ids) {
  bool moved = static_cast<Index>(sources.size()) != state_->sequences();
  std::vector<Index> positions;
  RowTable rows;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    moved = moved || sources[i] != static_cast<Index>(i);
    const Index position = next_positions_[static_cast<std::size_t>(sources[i])];
    rows.append(1, position);
    positions.push_back(position + 1);
  }
  if (moved) state_->reorder(sources);
  next_positions_ = std::move(positions);
  return decode(model_.embed_decoder_tokens(ids), rows);
}

std::span<const float> row_of(const Tensor& matrix, Index r) {
  return {matrix.data<float>() + r * matrix.dim(1), static_cast<std::size_t>(matrix.dim(1))};
}

Tensor stack_rows(std::span<const std::vector<float>> rows) {
  const auto width = rows.empty() ? std::size_t{0} : rows.front().size();
  Tensor stacked = Tensor::uninitialized(
      DType::Float32, {static_cast<Index>(rows.size()), static_cast<Index>(width)});
  float* out = stacked.data<float>();
  for (const std::vector<float>& row : rows) out = std::copy(row.begin(), row.end(), out);
  return stacked;
}

Tensor prompt_tensor(const Prompt& prompt, Index copies) {
  std::vector<std::int64_t> ids;
  for (const auto& row : prompt.ids) {
    for (Index i = 0; i < copies; ++i) ids.insert(ids.end(), row.begin(), row.end());
  }
  return Tensor(ids, {prompt.batch() * copies, prompt.length()});
}

std::int64_t feedable(std::int64_t id, Index vocab_size) {
  return id >= 0 && id < vocab_size ? id : 0;
}

}  // namespace instructblip::detail
