"""Fixtures of tests/generation/: the reference's logits processors on random scores, and its
`generate` on a language model without weights whose logits are a hash of all that it was fed
(TableLanguageModel in tests/generation/table_language_model.h)."""

import json
import random
import warnings
from pathlib import Path

import torch
from torch import nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers import logging as transformers_logging
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.generation import logits_process as lp
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutputWithPast, Seq2SeqLMOutput

from common import save, seed, texts

WORD = 0xFFFFFFFF
ROOT = Path(__file__).resolve().parent / "fixtures"


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


def random_switches(pick, vocab, sampling):
    """Keyword arguments that change scores; each case has a few."""
    def some_ids(most=3):
        return [random.randrange(vocab) for _ in range(random.randint(1, most))]

    options = {
        "repetition_penalty": lambda: random.choice([1.3, 0.7, 2.5]),
        "no_repeat_ngram_size": lambda: random.choice([1, 2, 3]),
        "bad_words_ids": lambda: [some_ids() for _ in range(random.randint(1, 4))],
        "sequence_bias": lambda: [[some_ids(2), random.choice([-3.5, 2.25, -0.5])]
                                  for _ in range(random.randint(1, 4))],
        "suppress_tokens": lambda: some_ids(5),
        "begin_suppress_tokens": lambda: some_ids(5),
        "forced_bos_token_id": lambda: random.randrange(vocab),
        "forced_eos_token_id": lambda: random.choice([random.randrange(vocab), some_ids(1)]),
        "exponential_decay_length_penalty": lambda: [random.randint(0, 3), random.choice([1.2, 1.6])],
        "renormalize_logits": lambda: True,
        "remove_invalid_values": lambda: True,
    }
    chosen = {name: make() for name, make in options.items() if pick(0.14)}
    if sampling:
        warpers = {
            "temperature": lambda: random.choice([0.5, 0.9, 1.7]),
            "top_h": lambda: random.choice([0.3, 0.6]),
            "top_k": lambda: random.choice([0, 3, 10]),
            "top_p": lambda: random.choice([0.4, 0.8, 0.95]),
            "min_p": lambda: random.choice([0.05, 0.3]),
            "typical_p": lambda: random.choice([0.4, 0.9]),
            "epsilon_cutoff": lambda: random.choice([0.01, 0.05]),
            "eta_cutoff": lambda: random.choice([0.01, 0.1]),
        }
        chosen |= {name: make() for name, make in warpers.items() if pick(0.3)}
    return chosen


def random_case(number):
    def pick(probability):
        return random.random() < probability

    encdec = pick(0.35)
    vocab = random.randint(24, 40)
    beams = 1 if pick(0.35) else random.randint(2, 4)
    sampling = pick(0.25)
    batch = random.randint(1, 3)
    eos = random.choice([2, 2, 2, [2, 5], [7, 3, 2], None])
    pad = random.choice([0, 0, 3, None] + ([-1] if beams > 1 else []))
    special = {"eos_token_id": eos, "pad_token_id": pad, "bos_token_id": 1,
               "decoder_start_token_id": 0 if encdec and pick(0.8) else None}
    special = {key: value for key, value in special.items() if value is not None}
    if not encdec and pick(0.5):
        special["max_position_embeddings"] = 20
    length = random.randint(1, 6)
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in mask[1:]:
        kind = random.choice(["none", "left", "hole"])
        if kind == "left":
            row[: random.randint(0, length - 1)] = 0
        elif kind == "hole" and length > 2:
            begin = random.randint(1, length - 2)
            row[begin : random.randint(begin, length - 1)] = 0
    ids = torch.randint(0, vocab, (batch, length))
    ids[mask == 0] = max(pad or 0, 0)
    embeds = ids[..., None].float().repeat(1, 1, 2)
    embeds[:, 0] += 0.25 * torch.randint(0, 4, (batch, 1))  # as an image feature: no id's embedding
    kind = "embeds" if encdec else random.choice(["both"] * 4 + ["ids", "embeds"])
    config = random_switches(pick, vocab, sampling)
    if pick(0.75):
        config["max_new_tokens"] = random.randint(1, 10)
    elif pick(0.8):
        config["max_length"] = random.randint(2, 14)
    if pick(0.12):
        config["min_new_tokens"] = random.randint(1, 8)
    elif pick(0.12):
        config["min_length"] = random.randint(1, 12)
    if sampling:
        config["do_sample"] = True
    if beams > 1:
        config["num_beams"] = beams
        if pick(0.6):
            config["early_stopping"] = random.choice([True, False, "never"])
        if pick(0.6):
            config["length_penalty"] = random.choice([0.0, -1.0, 0.5, 2.0, -0.3])
        if pick(0.4):
            config["num_return_sequences"] = random.randint(1, beams)
    elif sampling and pick(0.4):
        config["num_return_sequences"] = random.randint(2, 3)
    if pick(0.1):
        config["eos_token_id"] = random.choice([4, [6, 9]])
    if pick(0.1):
        config["pad_token_id"] = random.choice([0, 8])
    model = dict(encoder_decoder=encdec, vocab=vocab, model_seed=1000 + number,
                 scale=random.choice([2.0, 5.0, 10.0]), bonus=random.choice([-1.0, 1.0, 2.5, 4.0]))
    decoder_ids = torch.randint(0, vocab, (batch, 2)) if encdec and pick(0.2) else None
    return dict(model=model, special=special, ids=ids, mask=mask, embeds=embeds, kind=kind,
                config=config, decoder_ids=decoder_ids, seed=random.getrandbits(64))


def run_case(case, noise=0.0):
    model = table_model(**case["model"], **case["special"])
    model.noise = noise
    inputs = {"attention_mask": case["mask"]}
    if case["kind"] != "embeds":
        inputs["input_ids"] = case["ids"]
    if case["kind"] != "ids":
        inputs["inputs_embeds"] = case["embeds"]
    if case["decoder_ids"] is not None:
        inputs["decoder_input_ids"] = case["decoder_ids"].clone()
    multinomial, torch.multinomial = torch.multinomial, Draws(case["seed"])
    try:
        output = model.generate(**inputs, **case["config"], return_dict_in_generate=True,
                                output_scores=True, output_logits=True)
        output["impossible"] = model.impossible
        return output
    finally:
        torch.multinomial = multinomial


def is_stable(case, output):
    """Whether the outcome hangs on no tie and no rounding."""
    scores = output.get("sequences_scores")
    if scores is not None and (scores < -1e6).any():
        return False
    for _ in range(2):
        other = run_case(case, noise=2e-5)
        if not torch.equal(output.sequences, other.sequences):
            return False
        if scores is not None and not torch.equal(output.beam_indices, other.beam_indices):
            return False
    return True


def weighted_sums(steps):
    """[steps, rows]: sum of (id + 1) * score over finite scores."""
    stacked = torch.stack(list(steps)).double()
    weights = torch.arange(1, stacked.shape[-1] + 1).double()
    return (torch.where(stacked.isfinite(), stacked, 0.0) * weights).sum(-1)


def pack(name, tensors):
    """Tensors of up to 2 dimensions: values one after the other, and [count, 2] shapes."""
    shapes = [[t.shape[0], t.shape[1] if t.dim() > 1 else -1] for t in tensors]
    return {name: torch.cat([t.reshape(-1) for t in tensors]),
            f"{name}.shapes": torch.tensor(shapes, dtype=torch.int64)}


def quiet():
    warnings.simplefilter("ignore")
    transformers_logging.set_verbosity_error()


def generations(folder):
    """Random switches, prompts and models; results of `generate`."""
    quiet()
    seed(20)
    kept, refused = [], []
    number = 0
    while len(kept) < 320:
        number += 1
        case = random_case(number)
        if (case["kind"] == "embeds" and "repetition_penalty" in case["config"]
                and not case["model"]["encoder_decoder"] and (case["mask"] == 0).any()):
            continue  # the reference then ignores new ids instead of padding
        try:
            output = run_case(case)
        except ValueError:
            refused.append(case)
            continue
        except (RuntimeError, IndexError):
            continue
        if is_stable(case, output):
            kept.append((case, output))
    write_generations(folder, "generation/generations", kept, refused)


def write_generations(folder, name, kept, refused):
    cases = [case for case, _ in kept] + refused
    outputs = [output for _, output in kept]
    empty = torch.zeros(0)

    def sequences_scores(output):
        scores = output.get("sequences_scores")
        return empty if scores is None else scores

    def beam_indices(output):
        indices = output.get("beam_indices")
        return torch.zeros((0, 0), dtype=torch.int32) if indices is None else indices

    def sums(output, steps):
        return torch.zeros((0, 0)) if output.impossible else weighted_sums(steps).float()

    def model_row(case):
        model, special = case["model"], case["special"]
        return [model["encoder_decoder"], model["vocab"], model["model_seed"], model["scale"],
                model["bonus"], ["both", "ids", "embeds"].index(case["kind"])] + [
                    special.get(key, -2) for key in (
                        "pad_token_id", "bos_token_id", "decoder_start_token_id",
                        "max_position_embeddings")]

    def eos(case):
        value = case["special"].get("eos_token_id", [])
        return torch.tensor(value if isinstance(value, list) else [value], dtype=torch.int64)

    def config(case):
        return json.dumps(case["config"] | {"seed": case["seed"]})

    none = torch.zeros((0, 0), dtype=torch.int64)
    save(folder, name, {
        **texts("config", [config(case) for case in cases]),
        "model": torch.tensor([model_row(case) for case in cases], dtype=torch.float32),
        **pack("eos", [eos(case) for case in cases]),
        **pack("ids", [case["ids"] for case in cases]),
        **pack("mask", [case["mask"] for case in cases]),
        **pack("features", [case["embeds"][:, 0, 0] for case in cases]),
        **pack("decoder_ids", [none if case["decoder_ids"] is None else case["decoder_ids"]
                               for case in cases]),
        **pack("sequences", [output.sequences for output in outputs]),
        **pack("sequences_scores", [sequences_scores(output) for output in outputs]),
        **pack("beam_indices", [beam_indices(output) for output in outputs]),
        **pack("scores", [sums(output, output.scores) for output in outputs]),
        **pack("logits", [sums(output, output.logits) for output in outputs]),
    })


def processor_inputs():
    """scores: ordinary; rough: -inf, a very likely id and a flat row; wide: more than top_h looks
    at; ties: equal scores, for what does not sort them."""
    rough = torch.randn(4, 40) * 2
    rough[1, ::3] = -float("inf")
    rough[2] = -2.0 - torch.rand(40)
    rough[2, 7] = 5.0
    rough[3] = 0.5 + torch.rand(40) * 0.1
    ties = rough.clone()
    ties[0, 10:20] = ties[0, 3]
    ties[3] = 0.5
    # Each row ends with what it holds before: bigrams and trigrams repeat.
    ids = torch.tensor([[5, 6, 7, 5, 6, 9, 5, 6], [1, 1, 1, 1, 1, 1, 1, 1],
                        [3, 39, 2, 8, 3, 39, 2, 8], [0, 12, 45, 12, 45, 31, 12, 45]])
    return {"scores": torch.randn(4, 40) * 3, "rough": rough, "wide": torch.randn(2, 300) * 1.5,
            "ties": ties, "ids": ids}


def processor_cases():
    """Name -> (processor, its input); tests/generation/logits_process_test.cpp has the same list."""
    bias = lp.SequenceBiasLogitsProcessor
    eos = torch.tensor([2, 5])
    cases = {
        "sequence_bias": (bias([[[7], -2.5], [[5, 6, 9], 3.0], [[6, 9], 1.5], [[2, 8, 4], -7.0]]),
                          "scores"),
        "sequence_bias_again": (bias([[[7], -2.5], [[7], 1.0], [[6, 4], 2.0]]), "rough"),
        "bad_words": (lp.NoBadWordsLogitsProcessor([[3], [2], [6, 9], [1, 1, 1, 4], [8, 5]], eos),
                      "scores"),
        "repetition_penalty": (lp.RepetitionPenaltyLogitsProcessor(1.7), "scores"),
        "repetition_penalty_below_one": (lp.RepetitionPenaltyLogitsProcessor(0.6), "rough"),
        "repetition_penalty_padded": (lp.RepetitionPenaltyLogitsProcessor(
            1.7, prompt_ignore_length=torch.tensor([0, 2, 6, 8])), "scores"),
        "min_length": (lp.MinLengthLogitsProcessor(9, eos), "scores"),
        "min_length_reached": (lp.MinLengthLogitsProcessor(8, eos), "scores"),
        "min_new_tokens": (lp.MinNewTokensLengthLogitsProcessor(5, 4, eos), "scores"),
        "min_new_tokens_reached": (lp.MinNewTokensLengthLogitsProcessor(5, 3, eos), "scores"),
        "forced_bos_later": (lp.ForcedBOSTokenLogitsProcessor(4), "scores"),
        "forced_eos": (lp.ForcedEOSTokenLogitsProcessor(9, eos), "scores"),
        "forced_eos_later": (lp.ForcedEOSTokenLogitsProcessor(10, eos), "scores"),
        "remove_invalid": (lp.InfNanRemoveLogitsProcessor(), "rough"),
        "exponential_decay": (lp.ExponentialDecayLengthPenalty((1, 1.3), eos, 4), "scores"),
        "exponential_decay_rough": (lp.ExponentialDecayLengthPenalty((0, 1.1), torch.tensor([3]), 3),
                                    "rough"),
        "exponential_decay_early": (lp.ExponentialDecayLengthPenalty((4, 1.3), eos, 4), "scores"),
        "suppress": (lp.SuppressTokensLogitsProcessor([1, 39, 1]), "scores"),
        "begin_suppress": (lp.SuppressTokensAtBeginLogitsProcessor([0, 39], 8), "scores"),
        "begin_suppress_later": (lp.SuppressTokensAtBeginLogitsProcessor([0, 39], 7), "scores"),
        "prefix": (lp.PrefixConstrainedLogitsProcessor(
            lambda row, ids: [ids[-1].item() % 40, 3 + row], 2), "scores"),
        "prefix_unsatisfiable": (lp.PrefixConstrainedLogitsProcessor(
            lambda row, _: [0, 3] if row == 0 else [3, 6], 2), "rough_blocked"),
    }
    for n in (1, 2, 3, 8, 9):
        cases[f"no_repeat_ngram_{n}"] = (lp.NoRepeatNGramLogitsProcessor(n), "scores")
    for name in ("scores", "rough", "wide", "ties"):
        warpers = {
            "temperature_low": lp.TemperatureLogitsWarper(0.35),
            "temperature_high": lp.TemperatureLogitsWarper(2.5),
            "top_h_20": lp.TopHLogitsWarper(0.2),
            "top_h_70": lp.TopHLogitsWarper(0.7),
            "top_h_95": lp.TopHLogitsWarper(0.95),
            "top_k_1": lp.TopKLogitsWarper(1),
            "top_k_5": lp.TopKLogitsWarper(5),
            "top_k_5_keep_9": lp.TopKLogitsWarper(5, min_tokens_to_keep=9),
            "top_k_500": lp.TopKLogitsWarper(500),
            "top_p_0": lp.TopPLogitsWarper(0.0),
            "top_p_30": lp.TopPLogitsWarper(0.3),
            "top_p_90": lp.TopPLogitsWarper(0.9),
            "top_p_90_keep_4": lp.TopPLogitsWarper(0.9, min_tokens_to_keep=4),
            "top_p_100": lp.TopPLogitsWarper(1.0),
            "min_p_0": lp.MinPLogitsWarper(0.0),
            "min_p_10": lp.MinPLogitsWarper(0.1),
            "min_p_100": lp.MinPLogitsWarper(1.0),
            "min_p_50_keep_3": lp.MinPLogitsWarper(0.5, min_tokens_to_keep=3),
            "typical_20": lp.TypicalLogitsWarper(0.2),
            "typical_90": lp.TypicalLogitsWarper(0.9),
            "typical_20_keep_5": lp.TypicalLogitsWarper(0.2, min_tokens_to_keep=5),
            "epsilon_02": lp.EpsilonLogitsWarper(0.02),
            "epsilon_90": lp.EpsilonLogitsWarper(0.9),
            "epsilon_90_keep_3": lp.EpsilonLogitsWarper(0.9, min_tokens_to_keep=3),
            "eta_02": lp.EtaLogitsWarper(0.02),
            "eta_90": lp.EtaLogitsWarper(0.9),
            "eta_30_keep_3": lp.EtaLogitsWarper(0.3, min_tokens_to_keep=3),
            "renormalize": lp.LogitNormalization(),
        }
        sorts = ("top_h", "top_p", "typical", "min_p_50_keep")
        cases |= {f"{name}.{case}": (processor, name) for case, processor in warpers.items()
                  if name != "ties" or not case.startswith(sorts)}
    return cases


def is_stable_processor(processor, ids, scores, result):
    """Whether the ids that are dropped stay the same under rounding of the scores."""
    for _ in range(4):
        factor = 1 + torch.randn(scores.shape) * 1e-6
        other = processor(ids, scores * factor)
        if not torch.equal(other.isneginf(), result.isneginf()):
            return False
    return True


def processors(folder):
    """Every processor alone."""
    seed(21)
    inputs = processor_inputs()
    inputs["rough_blocked"] = inputs["rough"].clone()
    inputs["rough_blocked"][:2, [0, 3]] = -float("inf")
    invalid = inputs["rough"].clone()
    invalid[0, 4], invalid[2, 5] = float("nan"), float("inf")
    tensors = dict(inputs, invalid=invalid)
    for name, (processor, source) in processor_cases().items():
        scores = invalid if name == "remove_invalid" else inputs[source]
        ids = inputs["ids"][: len(scores)]
        result = processor(ids, scores.clone())
        assert source == "ties" or is_stable_processor(processor, ids, scores, result), name
        tensors[f"out.{name}"] = result
    start = torch.tensor([[4], [9]])
    tensors["out.forced_bos"] = lp.ForcedBOSTokenLogitsProcessor(4)(start, inputs["scores"][:2])
    save(folder, "generation/processors", tensors)


def small_models(folder):
    """The tiny checkpoints of language_models/: ids, scores and states of every step, from
    embeddings with padding between them."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    quiet()
    tensors = {}
    for name in ("llama_mha", "opt", "t5"):
        seed(22)
        path = ROOT / "language_models" / name
        kind = AutoModelForSeq2SeqLM if name == "t5" else AutoModelForCausalLM
        model = kind.from_pretrained(
            path, dtype=torch.float32, attn_implementation="eager").eval()
        ids = torch.randint(4, 60, (3, 6))
        mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]])
        ids[mask == 0] = 0
        embeds = model.get_input_embeddings()(ids)
        embeds[:, 3] += 0.1  # as an image feature
        tensors[f"{name}.ids"], tensors[f"{name}.mask"] = ids, mask
        tensors[f"{name}.embeds"] = embeds
        inputs = {"inputs_embeds": embeds, "attention_mask": mask, "pad_token_id": 0}
        if name != "t5":
            inputs["input_ids"] = ids
        for beams in (1, 3):
            if name == "t5":  # it has more layers in the decoder than a cache of its own making
                inputs["cache"] = EncoderDecoderCache(DynamicCache(), DynamicCache())
            output = model.generate(
                **inputs, num_beams=beams, max_new_tokens=4, no_repeat_ngram_size=2,
                return_dict_in_generate=True, output_scores=True, output_logits=True,
                output_hidden_states=True, output_attentions=True)
            key = f"{name}.{beams}"
            tensors[f"{key}.sequences"] = output.sequences
            tensors[f"{key}.scores"] = torch.stack(output.scores)
            tensors[f"{key}.logits"] = torch.stack(output.logits)
            if beams > 1:
                tensors[f"{key}.sequences_scores"] = output.sequences_scores
                tensors[f"{key}.beam_indices"] = output.beam_indices
            for field in ("hidden_states", "attentions", "decoder_hidden_states",
                          "decoder_attentions", "cross_attentions"):
                for step in (0, 2):  # the prompt, and a later one
                    if field in output and (step == 2 or beams == 1):
                        tensors[f"{key}.{field}.{step}"] = torch.stack(output[field][step])
            for field in ("encoder_hidden_states", "encoder_attentions"):
                if field in output and beams == 1:
                    tensors[f"{key}.{field}"] = torch.stack(output[field])
    save(folder, "generation/small_models", tensors)


FIXTURES = {
    "generation/generations": generations,
    "generation/processors": processors,
    "generation/small_models": small_models,
}
