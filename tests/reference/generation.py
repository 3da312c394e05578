"""Fixtures of tests/generation/: the reference's `generate` on a language model without weights
(table_model.py) and on the small models of language_models/."""

import json
import random
from pathlib import Path

import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from common import quiet, save, seed, texts
from table_model import Draws, table_model

ROOT = Path(__file__).resolve().parent / "fixtures"


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


def transition_scores(case, output, normalize):
    """compute_transition_scores, empty where it fails (a padding id of -1) or is chance."""
    model = table_model(**case["model"], **case["special"])
    try:
        found = model.compute_transition_scores(
            output.sequences, output.scores, output.get("beam_indices"), normalize_logits=normalize)
    except (RuntimeError, IndexError):
        return torch.zeros((0, 0))
    return torch.zeros((0, 0)) if output.impossible else found


def pack(name, tensors):
    """Tensors of up to 2 dimensions: values one after the other, and [count, 2] shapes."""
    shapes = [[t.shape[0], t.shape[1] if t.dim() > 1 else -1] for t in tensors]
    return {name: torch.cat([t.reshape(-1) for t in tensors]),
            f"{name}.shapes": torch.tensor(shapes, dtype=torch.int64)}


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
        **pack("transition_scores", [transition_scores(case, output, False)
                                     for case, output in kept]),
        **pack("transition_log_probs", [transition_scores(case, output, True)
                                        for case, output in kept]),
    })


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
    "generation/small_models": small_models,
}
