"""Fixtures of tests/tasks: how likely candidate answers are, short answers, text processors."""

import re
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import InstructBlipForConditionalGeneration

from common import ids, save, seed, texts

MODELS = Path(__file__).parent / "fixtures" / "instructblip"
INPUTS = ["pixel_values", "qformer_input_ids", "qformer_attention_mask", "input_ids",
          "attention_mask"]
CANDIDATES = [[17], [40, 41], [40, 42, 43, 44], [9, 8, 7], [60, 61, 62, 63, 64]]


def log_probabilities(logits, labels):
    """Of each label, by the row of logits beside it."""
    return torch.log_softmax(logits.double(), -1).gather(-1, labels[:, None])[:, 0]


def answers(kind):
    def make(folder):
        seed(200)
        model = InstructBlipForConditionalGeneration.from_pretrained(
            MODELS / kind, attn_implementation="eager").eval()
        store = load_file(MODELS / kind / "expected.safetensors")
        batch = {name: store[f"forward.left.{name}"] for name in INPUTS}
        config = model.config.text_config
        eos = config.eos_token_id
        rows, rows_with_eos = [], []
        for b in range(3):
            one = {name: tensor[b : b + 1] for name, tensor in batch.items()}
            if model.config.use_decoder_only_language_model:
                # As `generate` counts positions; a T5 counts padding too.
                kept = one["attention_mask"][0] == 1
                one["input_ids"] = one["input_ids"][:, kept]
                one["attention_mask"] = torch.ones_like(one["input_ids"])
            for candidate in CANDIDATES:
                for row, labels in ((rows, candidate), (rows_with_eos, candidate + [eos])):
                    row.append(likelihood(model, one, torch.tensor([labels])))
        save(folder, f"answers/{kind}", {
            "log_likelihoods": torch.tensor(rows).reshape(3, -1),
            "log_likelihoods.eos": torch.tensor(rows_with_eos).reshape(3, -1),
            **ids(CANDIDATES, "candidates"), **short_answers(model, batch)})

    return make


def likelihood(model, one, labels):
    with torch.no_grad():
        if model.config.use_decoder_only_language_model:
            whole = torch.cat([one["input_ids"], labels], 1)
            logits = model(**(one | {"input_ids": whole, "attention_mask": torch.ones_like(whole)})
                           ).logits[0, one["input_ids"].shape[1] - 1 : -1]
        else:
            logits = model(**one, labels=labels).logits[0]
    return log_probabilities(logits, labels[0]).sum().item()


def short_answers(model, batch):
    """LAVIS' predict_answers: embeddings alone; its max_length of 10 counts Vicuna's BOS (transformers 4.28)."""
    decoder_only = model.config.use_decoder_only_language_model
    embeds = model.get_input_embeddings()(batch["input_ids"])
    with torch.no_grad():
        features = model.get_image_features(
            batch["pixel_values"], batch["qformer_input_ids"], batch["qformer_attention_mask"]
        ).pooler_output
        mask = (batch["input_ids"] == model.config.image_token_id)[..., None].expand_as(embeds)
        embeds = embeds.masked_scatter(mask, features)
        sequences = model.language_model.generate(
            inputs_embeds=embeds, attention_mask=batch["attention_mask"], num_beams=5,
            max_new_tokens=9 if decoder_only else 10, min_length=1, repetition_penalty=1.5,
            length_penalty=0.0 if decoder_only else -1.0)
    return {"short_answers": sequences}


TEXTS = [
    "What is this?", "  Is it: (a) red; (b) ~blue~?  ", "A DOG.  Two\t\tcats!\n", "", " ", ".",
    "\n\n", "...a...", 'He said "no" #1 * 2', "tab\tkept", "line\nkept", "end\n", "end \n", "end\n ",
    "\n begin", "a\u00a0\u00a0b", "a\u3000b", "a\x1c\x1db", "a\x85\u2028b", "\u200b\u200b",
    "ÄÖÜ ẞ É Ω Я", "İstanbul", "日本  語。", "emoji 🙂  🙂!", "it's 50% off, ok?",
    "two  spaces " * 30, "a . b . c . d", "x" * 300, "trailing dots . . .",
    *(" ".join(f"w{i}" for i in range(count)) for count in (49, 50, 51))]


def question(text, max_words):
    """pre_question of LAVIS' processors/blip_processors.py."""
    text = re.sub(r"([.!\"()*#:;~])", "", text.lower()).rstrip(" ")
    words = text.split(" ")
    return " ".join(words[:max_words]) if len(words) > max_words else text


def caption(text, max_words):
    """pre_caption of the same file."""
    text = re.sub(r"\s{2,}", " ", re.sub(r"([.!\"()*#:;~])", " ", text.lower()))
    text = text.rstrip("\n").strip(" ")
    words = text.split(" ")
    return " ".join(words[:max_words]) if len(words) > max_words else text


def text_processors(folder):
    tensors = texts("texts", TEXTS)
    for words in (0, 1, 2, 50):
        for function in (question, caption):
            tensors |= texts(f"{function.__name__}.{words}", [function(t, words) for t in TEXTS])
    white_space = [c for c in range(sys.maxunicode + 1) if re.match(r"\s", chr(c))]
    save(folder, "answers/text_processors", {**tensors, "white_space": torch.tensor(white_space)})


FIXTURES = {
    "answers/text_processors": text_processors,
    **{f"answers/{kind}": answers(kind) for kind in ("opt", "llama", "t5")}}
