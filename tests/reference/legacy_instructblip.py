#!/usr/bin/env python3
"""Writes fixtures/instructblip_legacy.safetensors: what transformers 4.49.0 computes with the tiny
checkpoints when their config.json names no image token. It needs an environment of its own (torch
2.13.0, transformers 4.49.0), so make_fixtures.py does not call it."""

import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import InstructBlipForConditionalGeneration

FOLDER = Path(__file__).resolve().parent / "fixtures"
QUERIES = 4


@torch.no_grad()
def run(kind, store):
    source = FOLDER / "instructblip" / kind
    with tempfile.TemporaryDirectory() as folder:
        config = json.loads((source / "config.json").read_text())
        del config["image_token_index"]
        (Path(folder) / "config.json").write_text(json.dumps(config))
        shutil.copy(source / "model.safetensors", folder)
        model = InstructBlipForConditionalGeneration.from_pretrained(folder).eval()
    expected = load_file(source / "expected.safetensors")
    arguments = {
        name: expected[f"forward.left.{name}"]
        for name in ("pixel_values", "qformer_input_ids", "qformer_attention_mask")
    }
    arguments["input_ids"] = expected["forward.left.input_ids"][:, QUERIES:]
    arguments["attention_mask"] = expected["forward.left.attention_mask"][:, QUERIES:]
    more = {} if kind != "t5_relu" else {"decoder_input_ids": expected["base.decoder_input_ids"]}
    store[f"{kind}.logits"] = model(**arguments, **more).logits
    store[f"{kind}.sequences"] = model.generate(**arguments, max_new_tokens=6)


def main():
    assert transformers.__version__ == "4.49.0", transformers.__version__
    store = {}
    for kind in ("opt", "llama", "t5_relu"):
        run(kind, store)
    save_file({name: tensor.contiguous() for name, tensor in store.items()},
              FOLDER / "instructblip_legacy.safetensors")
    print({name: list(tensor.shape) for name, tensor in store.items()})


if __name__ == "__main__":
    main()
