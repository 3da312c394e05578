"""Starts a training from a checkpoint folder: one with the same decoder, or with another, of which the rest is used.

Words keep their embeddings wherever they stand in the two vocabularies; new ones start at random. The folder does not hold
the training heads. These are trained first, with everything else frozen: their first gradients would spoil it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import InstructBlipForConditionalGeneration, InstructBlipProcessor

import model as demo
from language_stage import QuestionStage
from vision_stage import VisionStage


def take_over(stage: QuestionStage, folder: Path) -> None:
    """Copies the folder's weights, without the language model's if the decoders differ, and freezes them."""
    source = InstructBlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    same = source.config.text_config.model_type == stage.decoder
    given = {name: value for name, value in source.state_dict().items() if same or not name.startswith("language_")}
    if not same:
        _narrow(given, stage.net.config.qformer_config.intermediate_size)
    _reorder(given, stage, folder)
    absent = stage.net.load_state_dict(given, strict=False).missing_keys
    missing = [name for name in absent if same or not name.startswith("language_")]
    if missing:
        raise ValueError(f"{folder} lacks {missing}")
    for name, parameter in stage.net.named_parameters():
        if name in given:
            parameter.requires_grad_(False)


def take_over_tower(stage: VisionStage, folder: Path) -> None:
    """Copies the folder's vision tower, without freezing it."""
    source = InstructBlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    stage.vision_model.load_state_dict(source.vision_model.state_dict())


def _reorder(weights: dict[str, torch.Tensor], stage: QuestionStage, folder: Path) -> None:
    """Rows of the word tables follow their words from the folder's vocabularies to the stage's."""
    old, new = InstructBlipProcessor.from_pretrained(folder), demo.processor(stage.decoder)
    fresh = stage.net.state_dict()
    for name in weights:
        if not any(part in name for part in ("word_embeddings", "embed_tokens", "shared", "lm_head")):
            continue
        part = "qformer_tokenizer" if name.startswith("qformer.") else "tokenizer"
        before, after = (getattr(processor, part).get_vocab() for processor in (old, new))
        kept = [word for word in after if word in before]
        rows = fresh[name].clone()
        rows[[after[word] for word in kept]] = weights[name][[before[word] for word in kept]]
        weights[name] = rows


def _narrow(weights: dict[str, torch.Tensor], width: int) -> None:
    """Of each feed-forward layer of the Q-Former keeps the `width` neurons with the largest weights."""
    for name in list(weights):
        if not (name.startswith("qformer.") and ".intermediate" in name and name.endswith(".weight")):
            continue
        inner, outer = name.removesuffix(".weight"), name.removesuffix(".weight").replace("intermediate", "output")
        size = weights[f"{inner}.weight"].norm(dim=1) * weights[f"{outer}.weight"].norm(dim=0)
        kept = size.topk(width).indices.sort().values
        for part in (f"{inner}.weight", f"{inner}.bias"):
            weights[part] = weights[part][kept]
        weights[f"{outer}.weight"] = weights[f"{outer}.weight"][:, kept]
