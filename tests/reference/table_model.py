"""A language model without weights, whose logits are a hash of all that it was fed: what
tests/generation/table_language_model.h has in C++. And the library's random draws."""

import torch
from torch import nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutputWithPast, Seq2SeqLMOutput

WORD = 0xFFFFFFFF


def mix(x):
    x = x ^ (x >> 15)
    x = (x * 0x85EBCA6B) & WORD
    x = x ^ (x >> 13)
    x = (x * 0xC2B2AE35) & WORD
    return x ^ (x >> 16)


def fold(state, value, position):
    """Hash after one more position; value: an id or the first number of an embedding."""
    scaled = torch.round(value.double() * 16).long() & WORD
    return mix((state * 1664525 + scaled * 22695477 + position + 1013904223) & WORD)


class TableConfig(PreTrainedConfig):
    model_type = "table"


class Encoder(nn.Module):
    main_input_name = "input_ids"

    def forward(self, input_ids=None, inputs_embeds=None, attention_mask=None, **_):
        return BaseModelOutput(last_hidden_state=inputs_embeds)


class TableModel(PreTrainedModel, GenerationMixin):
    config_class = TableConfig
    base_model_prefix = "table"
    main_input_name = "input_ids"
    _is_stateful = False
    noise = 0.0
    impossible = False  # whether beams went on that cannot: which of those is chance

    def _get_top_k_continuations(self, *arguments, **named):
        found = super()._get_top_k_continuations(*arguments, **named)
        self.impossible = self.impossible or found[0].isinf().any().item()
        return found

    def __init__(self, config):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, 2)
        self.encoder = Encoder() if config.is_encoder_decoder else None

    @classmethod
    def _supports_default_dynamic_cache(cls):
        return True

    def get_encoder(self, *_, **__):
        return self.encoder

    def _init_weights(self, module):
        pass

    def prepare_inputs_for_generation(self, input_ids, inputs_embeds=None, **kwargs):
        return super().prepare_inputs_for_generation(input_ids, inputs_embeds=inputs_embeds, **kwargs)

    def forward(self, input_ids=None, inputs_embeds=None, attention_mask=None, position_ids=None,
                cache=None, decoder_input_ids=None, encoder_outputs=None, use_cache=None,
                return_dict=None, **_):
        config = self.config
        encodes = config.is_encoder_decoder
        ids = decoder_input_ids if encodes else input_ids
        values = ids.double() if ids is not None else inputs_embeds[..., 0].double()
        rows, length = values.shape
        own = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
        past = own.get_seq_length() if own is not None else 0
        if position_ids is None:
            position_ids = (torch.arange(length) + past)[None].expand(rows, -1)
        positions = position_ids.expand(rows, -1)[:, -length:].double()
        if own is not None:
            values, positions = own.update(values[:, None, :, None], positions[:, None, :, None], 0)
            values, positions = values[:, 0, :, 0], positions[:, 0, :, 0]
        state = torch.full((rows,), config.seed, dtype=torch.long)
        if encodes:
            hidden = encoder_outputs.last_hidden_state[..., 0]
            valid = attention_mask if attention_mask is not None else torch.ones(hidden.shape)
            count = torch.zeros(rows, dtype=torch.long)
            for i in range(hidden.shape[1]):
                keep = valid[:, i] != 0
                state = torch.where(keep, fold(state, hidden[:, i], count), state)
                count = count + keep
        for i in range(values.shape[1]):
            new = fold(state, values[:, i], positions[:, i].long())
            if encodes or attention_mask is None:
                state = new
            else:
                state = torch.where(attention_mask[:, i] != 0, new, state)
        ids = torch.arange(config.vocab_size)
        x = mix(state[:, None] ^ ((ids * 0x9E3779B1) & WORD)[None])
        logits = ((x >> 8).float() * 2.0**-24 - 0.5) * config.scale
        for i in config.bonus_ids:
            logits[:, i] += config.eos_bonus
        if self.noise:
            logits += torch.randn(logits.shape) * self.noise
        output = Seq2SeqLMOutput if encodes else CausalLMOutputWithPast
        result = output(logits=logits[:, None])
        result["cache"] = cache
        return result


def table_model(encoder_decoder, vocab, model_seed, scale, bonus, **special):
    eos = special.get("eos_token_id")
    bonus_ids = eos if isinstance(eos, list) else [] if eos is None else [eos]
    config = TableConfig(
        is_encoder_decoder=encoder_decoder, vocab_size=vocab, seed=model_seed, scale=scale,
        eos_bonus=bonus, bonus_ids=bonus_ids, hidden_size=2, num_hidden_layers=1,
        num_attention_heads=1, **special)
    model = TableModel(config)
    model.generation_config = GenerationConfig.from_dict(
        {key: value for key, value in special.items() if key.endswith("_id") and value is not None})
    with torch.no_grad():
        model.embedding.weight.copy_(torch.stack(
            [torch.arange(vocab).float(), torch.ones(vocab)], dim=1))
    return model.eval()


def philox(counter, key):
    """Philox4x32-10, as src/generation/sampling.cpp has it."""
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & WORD,
                   (a >> 32) ^ counter[3] ^ key[1], a & WORD]
        key = [(key[0] + 0x9E3779B9) & WORD, (key[1] + 0xBB67AE85) & WORD]
    return counter


def uniform(seed_value, step, row, index=0):
    words = philox([index // 2, row, step, 0], [seed_value & WORD, seed_value >> 32])
    pair = words[2:] if index % 2 else words[:2]
    return (((pair[1] << 32 | pair[0]) >> 11) + 0.5) * 2.0**-53


class Draws:
    """Stands in for torch.multinomial: the same draws as the library's."""

    def __init__(self, seed_value):
        self.seed, self.step = seed_value, 0

    def __call__(self, probabilities, num_samples):
        rows = []
        for row, p in enumerate(probabilities):
            if num_samples == 1:
                sums = p.double().cumsum(0)
                limit = uniform(self.seed, self.step, row) * sums[-1].item()
                rows.append([int((sums > limit).nonzero()[0])])
            else:
                keys = [(-torch.tensor(uniform(self.seed, self.step, row, i)).double().log().item()
                         / p[i].item()) if p[i] > 0 else float("inf") for i in range(len(p))]
                rows.append(sorted(range(len(p)), key=lambda i: (keys[i], i))[:num_samples])
        self.step += 1
        return torch.tensor(rows)
