"""Fixtures of tests/tasks/answers_test.cpp: how likely candidate answers are, and short answers."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import InstructBlipForConditionalGeneration

from common import ids, save, seed

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
    """LAVIS' predict_answers: it gives its language model embeddings alone."""
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
            max_new_tokens=10, min_length=1, repetition_penalty=1.5,
            length_penalty=0.0 if decoder_only else -1.0)
    return {"short_answers": sequences}


FIXTURES = {f"answers/{kind}": answers(kind) for kind in ("opt", "llama", "t5")}
