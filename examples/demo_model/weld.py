"""Joins the vision tower, which was trained alone, and the Q-Former, which was trained on oracle features.

Least squares finds the linear map from the tower's output to the oracle's features. Every cross-attention begins with a
linear map of its own, so the product of the two replaces it exactly, without a new layer.
"""

from __future__ import annotations

from pathlib import Path

import torch

from language_stage import QuestionStage
from vision_stage import VisionStage, draw_batch, pixels_of


def fit(vision: VisionStage, scenes: int = 600, ridge: float = 1e-3) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Weight and bias of the map, and the share of the oracle's variance that it leaves unexplained."""
    width = vision.heads.to_oracle.in_features
    gram, cross, mean = torch.zeros(width + 1, width + 1), torch.zeros(width + 1, width), torch.zeros(width)
    square, rows = 0.0, 0
    for first in range(0, scenes, 60):
        batch = draw_batch((4, first + i) for i in range(60))
        with torch.no_grad():
            seen = vision.vision_model(pixels_of(batch["images"])).last_hidden_state.flatten(0, 1)
        told = vision.heads.oracle(batch["table"], batch["centres"]).flatten(0, 1)
        seen = torch.cat([seen, torch.ones(len(seen), 1)], 1)
        gram += seen.T @ seen
        cross += seen.T @ told
        square, mean, rows = square + told.square().sum(), mean + told.sum(0), rows + len(seen)
    solution = torch.linalg.solve(gram + ridge * rows * torch.eye(width + 1), cross)
    left = square - 2 * (solution * cross).sum() + (solution * (gram @ solution)).sum()
    return solution[:-1].T, solution[-1], float(left / (square - mean.square().sum() / rows))


def weld(state: Path) -> None:
    """Reads vision.pt and language.pt, writes welded.pt: where the joint stage starts."""
    vision, stage = VisionStage(), QuestionStage(pictures=True)
    vision.load_state_dict(torch.load(state / "vision.pt", map_location="cpu", weights_only=True)["module"])
    language = torch.load(state / "language.pt", map_location="cpu", weights_only=True)["module"]
    stage.net.load_state_dict({k[4:]: v for k, v in language.items() if k.startswith("net.")})
    stage.slot_heads.load_state_dict({k[11:]: v for k, v in language.items() if k.startswith("slot_heads.")})
    weight, bias, left = fit(vision.eval())
    print(f"weld: {left:.3f} of the oracle's variance is left unexplained", flush=True)
    stage.net.vision_model.load_state_dict(vision.vision_model.state_dict())
    stage.heads.load_state_dict(vision.heads.state_dict())
    with torch.no_grad():
        for layer in stage.net.qformer.encoder.layer:
            for linear in (layer.crossattention.attention.key, layer.crossattention.attention.value):
                linear.bias += linear.weight @ bias
                linear.weight.copy_(linear.weight @ weight)
    torch.save(dict(module=stage.state_dict()), state / "welded.pt")
