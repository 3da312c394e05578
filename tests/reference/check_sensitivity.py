#!/usr/bin/env python3
"""Zeroes each tensor of each fixture model in turn and requires a visibly changed output, so that
no tensor can be read wrongly without a test that notices."""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import InstructBlipForConditionalGeneration

from instructblip import KINDS

CHECKPOINTS = Path(__file__).resolve().parent / "fixtures/instructblip"
# Adds the same number to all scores of a query; without rotary positions softmax removes it.
WITHOUT_EFFECT = (".key.bias", ".k_proj.bias")
VISIBLE = 1e-3


@torch.no_grad()
def outputs(model, arguments):
    output = model(**arguments)
    return [output.logits, output.vision_outputs.pooler_output,
            output.qformer_outputs.last_hidden_state]


def main():
    silent = 0
    for kind in KINDS:
        model = InstructBlipForConditionalGeneration.from_pretrained(CHECKPOINTS / kind).eval()
        expected = load_file(CHECKPOINTS / kind / "expected.safetensors")
        names = ["pixel_values", "qformer_input_ids", "qformer_attention_mask", "input_ids",
                 "attention_mask", "labels"]
        arguments = {name: expected[f"forward.left.{name}"] for name in names}
        before = outputs(model, arguments)
        count = 0
        smallest = float("inf")
        for name, tensor in model.state_dict().items():
            kept = tensor.clone()
            tensor.zero_()
            change = max(
                ((new - old).abs().max() / old.abs().max()).item()
                for new, old in zip(outputs(model, arguments), before)
            )
            tensor.copy_(kept)
            count += 1
            if name.endswith(WITHOUT_EFFECT):
                continue
            smallest = min(smallest, change)
            if change < VISIBLE:
                silent += 1
                print(f"{kind}: {name}: zeroing it changes the outputs by {change:.2g} only")
        print(f"{kind}: {count} tensors, smallest change {smallest:.2g}")
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
