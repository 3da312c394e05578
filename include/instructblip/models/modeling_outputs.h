// What the language models' `forward` returns, mirroring transformers' modeling_outputs.py: the
// reference's field names and padded shapes. Positions that the attention mask leaves out hold
// zeros. Lists are empty unless asked for, a loss is absent without labels.
#pragma once

#include <optional>
#include <vector>

#include "instructblip/core/tensor.h"

namespace instructblip {

struct BaseModelOutput {
  Tensor last_hidden_state;           // [batch, length, hidden_size]
  std::vector<Tensor> hidden_states;  // layers + 1; [0]: embeddings, the last: after the final norm
  std::vector<Tensor> attentions;     // of each layer [batch, heads, length, length]
};

using BaseModelOutputWithPast = BaseModelOutput;

struct CausalLMOutputWithPast {
  std::optional<float> loss;
  Tensor logits;  // [batch, length, vocab_size]
  std::vector<Tensor> hidden_states;
  std::vector<Tensor> attentions;
};

struct Seq2SeqModelOutput {
  Tensor last_hidden_state;  // of the decoder [batch, decoder length, hidden_size]
  std::vector<Tensor> decoder_hidden_states;
  std::vector<Tensor> decoder_attentions;
  std::vector<Tensor> cross_attentions;  // of each layer [batch, heads, decoder length, length]
  Tensor encoder_last_hidden_state;
  std::vector<Tensor> encoder_hidden_states;
  std::vector<Tensor> encoder_attentions;
};

struct Seq2SeqLMOutput {
  std::optional<float> loss;
  Tensor logits;  // [batch, decoder length, vocab_size]
  std::vector<Tensor> decoder_hidden_states;
  std::vector<Tensor> decoder_attentions;
  std::vector<Tensor> cross_attentions;
  Tensor encoder_last_hidden_state;
  std::vector<Tensor> encoder_hidden_states;
  std::vector<Tensor> encoder_attentions;
};

}  // namespace instructblip
