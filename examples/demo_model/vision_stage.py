"""First stage: the vision tower alone learns to classify what each patch shows."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import InstructBlipVisionConfig, InstructBlipVisionModel

from scene import GRID, PATCH, SIGN_OWNER, SIZE, Scene, render, sample_scene
from targets import COLUMN, COLUMNS, Oracle, patch_table

OUTLINE = 5  # cells along a side of a patch
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])
WEIGHTS = {"kind": 1.0, "shape": 2.0, "colour": 0.7, "size": 0.7, "texture": 0.7,
           "word": 1.0, "tens": 0.7, "ones": 0.7, "letter": 1.0}


def vision_config() -> InstructBlipVisionConfig:
    return InstructBlipVisionConfig(
        hidden_size=128, intermediate_size=512, num_hidden_layers=6, num_attention_heads=4, image_size=SIZE,
        patch_size=PATCH, initializer_range=0.02, attention_dropout=0.0,
    )


def pixels_of(images: torch.Tensor) -> torch.Tensor:
    """uint8 [batch, height, width, 3] to pixel values [batch, 3, height, width] as the image processor makes them."""
    return ((images.float() / 255 - MEAN.to(images.device)) / STD.to(images.device)).permute(0, 3, 1, 2).contiguous()


class DenseHeads(nn.Module):
    """Linear read-outs of each patch, used in training only."""

    def __init__(self, width: int):
        super().__init__()
        self.oracle = Oracle(width)
        self.attributes = nn.Linear(width, sum(COLUMNS.values()))
        self.centre = nn.Linear(width, 3)  # x, y and extent
        self.to_oracle = nn.Linear(width, width)
        self.outline = nn.Linear(width, OUTLINE * OUTLINE)

    def logits(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(COLUMNS, self.attributes(features).split(list(COLUMNS.values()), -1)))

    def loss(self, hidden: torch.Tensor, batch: dict, kept: torch.Tensor | None = None):
        features, told = hidden[:, 1:], self.oracle(batch["table"], batch["centres"])
        table, centres, outlines = batch["table"], batch["centres"], batch["outlines"]
        if kept is not None:
            table, centres, outlines = (gather(values, kept) for values in (table, centres, outlines))
            told = torch.cat([told[:, :1], gather(told[:, 1:], kept)], 1)
        figures, total = {}, 0.0
        for name, logits in self.logits(features).items():
            values = table[..., COLUMN[name]].long()
            some = values >= 0
            if not some.any():
                continue
            loss = functional.cross_entropy(logits[some], values[some])
            figures[name] = loss.detach()
            total = total + WEIGHTS[name] * loss
        some = (table[..., 0] == 1) | (table[..., 0] == 2)
        away = functional.smooth_l1_loss(self.centre(features[some]), centres[some], beta=0.05)
        told = functional.mse_loss(self.to_oracle(hidden), told)
        covered = functional.binary_cross_entropy_with_logits(self.outline(features), outlines.float() / 255)
        figures["centre"], figures["oracle"], figures["outline"] = away.detach(), told.detach(), covered.detach()
        return total + 10 * away + told + 4 * covered, figures


def gather(values: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Rows `kept` [batch, few] of `values` [batch, patches, ...]."""
    return values.gather(1, kept[..., None].expand(-1, -1, values.shape[-1]))


def outline_of(owner: np.ndarray) -> np.ndarray:
    """How much of each cell of each patch is covered by an object, in 255ths.

    A target of this detail teaches the tower to see outlines whatever the colour and texture; it then learns shapes much
    sooner.
    """
    cell = PATCH // OUTLINE
    covered = ((owner > 0) & (owner < SIGN_OWNER)).reshape(GRID, OUTLINE, cell, GRID, OUTLINE, cell).mean((2, 5))
    return (covered * 255).astype(np.uint8).transpose(0, 2, 1, 3).reshape(GRID * GRID, OUTLINE * OUTLINE)


class VisionStage(nn.Module):
    def __init__(self):
        super().__init__()
        config = vision_config()
        self.vision_model = InstructBlipVisionModel._from_config(config)
        self.heads = DenseHeads(config.hidden_size)

    def loss(self, batch):
        """Uses some of the patches only: most of the ground is left out, which saves a third of the work."""
        tower, kept = self.vision_model, choose_patches(batch["table"])
        hidden = tower.embeddings(pixels_of(batch["images"]))
        hidden = torch.cat([hidden[:, :1], gather(hidden[:, 1:], kept)], 1)
        hidden = tower.post_layernorm(tower.encoder(hidden).last_hidden_state)
        return self.heads.loss(hidden, batch, kept)


def choose_patches(table: torch.Tensor, count: int = 40) -> torch.Tensor:
    """[batch, count] patches: those of a sign first, then those with something else on them, then ground at random."""
    order = torch.rand(table.shape[:2], device=table.device) + (table[..., 0] > 0) + (table[..., 0] == 2)
    return order.topk(count, dim=1).indices


def telling_scene(seed) -> Scene:
    """A scene, or another if it has no text: texts take longest to learn."""
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng)
    return scene if scene.sign else sample_scene(rng)


def draw_batch(seeds, sample=lambda seed: sample_scene(np.random.default_rng(seed))) -> dict[str, torch.Tensor]:
    images, tables, centres, outlines = [], [], [], []
    for seed in seeds:
        scene = sample(seed)
        image, owner = render(scene)
        table, centre = patch_table(scene, owner)
        images.append(image), tables.append(table), centres.append(centre), outlines.append(outline_of(owner))
    return {"images": torch.from_numpy(np.stack(images)), "table": torch.from_numpy(np.stack(tables)),
            "centres": torch.from_numpy(np.stack(centres)), "outlines": torch.from_numpy(np.stack(outlines))}


def make_batch(number: int, size: int = 48) -> dict[str, torch.Tensor]:
    return draw_batch(((1, number, i) for i in range(size)), telling_scene)


def evaluate(module: VisionStage, scenes: int = 320) -> dict[str, float]:
    """Share of patches classified correctly in unseen pictures; whole signs by the sum over their patches."""
    right, seen, signs = {}, {}, []
    device = next(module.parameters()).device
    for first in range(0, scenes, 80):
        batch = {k: v.to(device) for k, v in draw_batch((0, 0, first + i) for i in range(80)).items()}
        hidden = module.vision_model(pixels_of(batch["images"])).last_hidden_state
        logits = module.heads.logits(hidden[:, 1:])
        for name, values in logits.items():
            truth = batch["table"][..., COLUMN[name]].long()
            some = truth >= 0
            right[name] = right.get(name, 0) + (values.argmax(-1)[some] == truth[some]).sum().item()
            seen[name] = seen.get(name, 0) + some.sum().item()
        on_sign = (batch["table"][..., 0] == 2).float()[..., None]
        whole = torch.ones(80, dtype=torch.bool, device=device)
        for name in ("word", "tens", "ones"):
            voted = (logits[name].log_softmax(-1) * on_sign).sum(1).argmax(-1)
            whole &= voted == batch["table"][..., COLUMN[name]].long().amax(1)
        signs += whole[on_sign.sum((1, 2)) > 0].tolist()
    return {f"{name}_right": right[name] / max(1, seen[name]) for name in right} | {"signs_right": sum(signs) / len(signs)}
