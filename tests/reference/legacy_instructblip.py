#!/usr/bin/env python3
"""Writes fixtures/*_legacy.safetensors for instructblip, blip_2 and instructblipvideo: what
transformers 4.49.0 computes with the tiny checkpoints when their config.json names no image token.
It needs an environment of its own (torch 2.13.0, transformers 4.49.0), so make_fixtures.py does not
call it."""

import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from transformers import (
    Blip2ForConditionalGeneration,
    InstructBlipForConditionalGeneration,
    InstructBlipVideoForConditionalGeneration,
)

from common import nudged, quiet, save, seed

FOLDER = Path(__file__).resolve().parent / "fixtures"
BEAMS = dict(num_beams=3, length_penalty=0.7, repetition_penalty=1.3)
# An id that the first rows generate, and the shortest min_length that keeps it off for one more.
END = {"opt": (42, 17), "llama": (2, 23), "t5_relu": (6, 2)}


OTHERS = ("opt", "t5", "llama")
FAMILIES = {
    "instructblip": (InstructBlipForConditionalGeneration, END),
    "blip_2": (Blip2ForConditionalGeneration, OTHERS),
    "instructblipvideo": (InstructBlipVideoForConditionalGeneration, OTHERS),
}


def load(source, model_class):
    with tempfile.TemporaryDirectory() as folder:
        config = json.loads((source / "config.json").read_text())
        for key in ("image_token_index", "video_token_index"):
            config.pop(key, None)
        if config["text_config"].get("scale_decoder_outputs") is False:  # as 4.49 spells it
            config["text_config"]["tie_word_embeddings"] = False
        (Path(folder) / "config.json").write_text(json.dumps(config))
        shutil.copy(source / "model.safetensors", folder)
        return model_class.from_pretrained(folder).float().eval()


def inputs(source, queries):
    """Those of the checkpoint's own fixture, without the placeholders."""
    expected = load_file(source / "expected.safetensors")
    names = ("pixel_values", "qformer_input_ids", "qformer_attention_mask")
    arguments = {name: expected[f"forward.left.{name}"] for name in names
                 if f"forward.left.{name}" in expected}
    for name in ("input_ids", "attention_mask"):
        arguments[name] = expected[f"forward.left.{name}"][:, queries:].clone()
    if source.name.startswith("t5"):  # 4.49's generate loses the mask of its cross-attention
        arguments["attention_mask"][:] = 1
    return arguments


def labels_of(model, arguments):
    if not model.config.use_decoder_only_language_model:
        labels = torch.randint(5, 95, (3, 5))
        labels[1, 3:] = -100
        return labels
    mask = arguments["attention_mask"]
    labels = torch.where(mask == 1, arguments["input_ids"], -100)
    labels[:, 1:][mask[:, :-1] == 0] = -100  # what padding would predict
    return labels


def calls(kind):
    end, min_length = END[kind]
    return {
        "greedy": dict(max_new_tokens=6),
        "beams": dict(max_new_tokens=6, **BEAMS),
        "max_length": dict(max_length=24),
        "short_min_length": dict(max_length=30, min_length=min_length - 1, eos_token_id=end),
        "min_length": dict(max_length=30, min_length=min_length, eos_token_id=end),
        "min_new_tokens": dict(max_new_tokens=10, min_new_tokens=5, eos_token_id=end),
        "beams_by_length": dict(max_length=30, min_length=18, eos_token_id=end, **BEAMS),
    }


def other_calls(model, arguments):
    """The third new id of the first row ends it, unless a minimal length delays this."""
    prompt = arguments["input_ids"].shape[1] if model.config.use_decoder_only_language_model else 1
    end = model.generate(**arguments, max_new_tokens=6)[0, prompt + 2].item()
    return end, {
        "greedy": dict(max_new_tokens=6),
        "beams": dict(max_new_tokens=6, num_beams=5),
        "max_length": dict(max_length=24),
        "ends": dict(max_length=30, eos_token_id=end),
        "min_length": dict(max_length=30, min_length=2 * prompt + 5, eos_token_id=end),
        "min_new_tokens": dict(max_new_tokens=10, min_new_tokens=5, eos_token_id=end),
    }


@torch.no_grad()
def run(family, kind, store):
    seed(500)
    source = FOLDER / family / kind
    model = load(source, FAMILIES[family][0])
    frames = 4 if family == "instructblipvideo" else 1
    arguments = inputs(source, model.config.num_query_tokens * frames)
    store |= {f"{kind}.{name}": value for name, value in arguments.items()}
    labels = labels_of(model, arguments)
    output = model(**arguments, labels=labels)
    store |= {f"{kind}.labels": labels, f"{kind}.loss": output.loss,
              f"{kind}.labelled_logits": output.logits}
    if model.config.use_decoder_only_language_model:
        store[f"{kind}.logits"] = model(**arguments).logits
    other = nudged(model)

    def generate(name, given, **options):
        found = model.generate(**given, **options, return_dict_in_generate=True,
                               output_scores=True)
        again = other.generate(**given, **options)
        assert torch.equal(again, found.sequences), f"{kind}: {name} hangs on rounding"
        store[f"{kind}.{name}"] = found.sequences
        if "num_beams" in options:
            store[f"{kind}.{name}.scores"] = found.sequences_scores

    if family == "instructblip":
        asked = calls(kind)
    else:
        store[f"{kind}.end"], asked = other_calls(model, arguments)
    for name, options in asked.items():
        generate(name, arguments, **options)
    if model.config.use_decoder_only_language_model:
        pictures = {name: value for name, value in arguments.items()
                    if name not in ("input_ids", "attention_mask")}
        generate("without_text", pictures, max_length=10)


def main():
    assert transformers.__version__ == "4.49.0", transformers.__version__
    quiet()
    for family, (_, kinds) in FAMILIES.items():
        store = {}
        for kind in kinds:
            run(family, kind, store)
        save(FOLDER, f"{family}_legacy", store)


if __name__ == "__main__":
    main()
