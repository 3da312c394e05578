#!/usr/bin/env python3
"""Zeroes each tensor of each fixture model in turn and requires a visibly changed output, so that
no tensor can be read wrongly without a test that notices."""

import re
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import (
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    Blip2QFormerModel,
    Blip2VisionModel,
    InstructBlipForConditionalGeneration,
    InstructBlipQFormerModel,
    InstructBlipVideoForConditionalGeneration,
    InstructBlipVisionModel,
)

import blip_2
import instructblipvideo
from instructblip import KINDS

CHECKPOINTS = Path(__file__).resolve().parent / "fixtures"
# Adds the same number to all scores of a query; without rotary positions softmax removes it.
WITHOUT_EFFECT = (".key.bias", ".k_proj.bias")
VISIBLE = 1e-3


def whole_outputs(model, given):
    output = model(**given)
    return [output.logits, output.vision_outputs.pooler_output,
            output.qformer_outputs.last_hidden_state]


def vision_outputs(model, given):
    output = model(**given)
    return [output.last_hidden_state, output.pooler_output]


def qformer_outputs(model, given):
    return [model(**given).last_hidden_state]


def retrieval_outputs(model, given):
    return [model(**given, use_image_text_matching_head=matching).logits_per_image
            for matching in (False, True)]


def whole(model_class, *qformer_text):
    return (model_class, "forward.left.",
            ["pixel_values", *qformer_text, "input_ids", "attention_mask", "labels"],
            whole_outputs)


QFORMER_TEXT = ("qformer_input_ids", "qformer_attention_mask")
WHOLE = whole(InstructBlipForConditionalGeneration, *QFORMER_TEXT)
VIDEO = whole(InstructBlipVideoForConditionalGeneration, *QFORMER_TEXT)
MODELS = {f"instructblip/{kind}": WHOLE for kind in KINDS} | {
    "instructblip/vision": (InstructBlipVisionModel, "", ["pixel_values"], vision_outputs),
    "instructblip/qformer": (InstructBlipQFormerModel, "",
                             ["input_ids", "query_embeds", "encoder_hidden_states"],
                             qformer_outputs),
} | {f"instructblipvideo/{kind}": VIDEO for kind in instructblipvideo.KINDS
} | {f"blip_2/{kind}": whole(Blip2ForConditionalGeneration) for kind in blip_2.KINDS} | {
    "blip_2/vision": (Blip2VisionModel, "", ["pixel_values"], vision_outputs),
    "blip_2/qformer": (Blip2QFormerModel, "both.",
                       ["query_embeds", "query_length", "encoder_hidden_states"], qformer_outputs),
} | {  # of the older spelling in "bfloat16", the reference makes a model without layers for text
    f"blip_2_retrieval/{kind}": (Blip2ForImageTextRetrieval, "contrast.",
                                 ["pixel_values", "input_ids", "attention_mask"], retrieval_outputs)
    for kind in ("contrast", "float16")
}
# BLIP-2's Q-Former may have layers for text, which no generating model uses.
UNUSED = re.compile(r"qformer\.encoder\.layer\.\d+\.(intermediate|output)\.")


@torch.no_grad()
def check(name, model_class, prefix, arguments, outputs):
    """How many tensors leave the outputs as they are."""
    model = model_class.from_pretrained(CHECKPOINTS / name, dtype=torch.float32).eval()
    stored = load_file(CHECKPOINTS / name / "expected.safetensors")
    given = {argument: stored[prefix + argument] for argument in arguments}
    before = outputs(model, given)
    tensors = model.state_dict()
    silent, smallest = 0, float("inf")
    for key, tensor in tensors.items():
        kept = tensor.clone()
        tensor.zero_()
        change = max(
            ((new - old).abs().max() / old.abs().max()).item()
            for new, old in zip(outputs(model, given), before)
        )
        tensor.copy_(kept)
        if key.endswith(WITHOUT_EFFECT):
            continue
        if name.startswith("blip_2/") and UNUSED.match(key):
            assert change == 0, key
            continue
        smallest = min(smallest, change)
        if change < VISIBLE:
            silent += 1
            print(f"{name}: {key}: zeroing it changes the outputs by {change:.2g} only")
    print(f"{name}: {len(tensors)} tensors, smallest change {smallest:.2g}")
    return silent


def main():
    return 1 if sum(check(name, *model) for name, model in MODELS.items()) else 0


if __name__ == "__main__":
    sys.exit(main())
