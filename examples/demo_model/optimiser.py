"""Muon for matrices, AdamW for everything else, as one optimiser with one state."""

from __future__ import annotations

import torch


# Twice as fast as float32 on hardware that multiplies bfloat16, and as good: the iteration is approximate anyway.
ROUGH = torch.bfloat16 if torch.cuda.is_available() or torch.cpu._is_amx_tile_supported() else torch.float32


def orthogonalise(matrices: torch.Tensor, steps: int = 4) -> torch.Tensor:
    """Newton-Schulz iteration towards the nearest orthogonal matrix, for a stack of matrices."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).to(ROUGH)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


TABLES = ["embedding", "embed_tokens", "embed_positions", "shared", "relative_attention_bias", "query_tokens", "head"]


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for matrices, scaled to AdamW's usual step; query, key and value of a joint matrix separately."""

    def __init__(self, named_parameters, rate: float, momentum: float = 0.95, decay: float = 0.01):
        matrices, others = {}, []
        for name, parameter in named_parameters:
            if not parameter.requires_grad:
                continue
            table = any(part in name.replace("patch_embedding", "") for part in TABLES)
            if parameter.ndim < 2 or table:
                others.append(parameter)
                continue
            pieces = 3 if "qkv" in name else 1
            shape = (parameter.shape[0] // pieces, parameter[0].numel())
            matrices.setdefault((pieces, shape), []).append(parameter)
        groups = [dict(params=p, pieces=key[0], shape=key[1], muon=True) for key, p in matrices.items()]
        groups.append(dict(params=others, muon=False))
        super().__init__(groups, dict(lr=rate, momentum=momentum, decay=decay))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            (self._muon if group["muon"] else self._adam)(group)

    def _muon(self, group):
        gradients = []
        for parameter in group["params"]:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            state["momentum"].lerp_(gradient, 1 - group["momentum"])
            gradients.append(gradient.lerp(state["momentum"], group["momentum"]).reshape(group["pieces"], *group["shape"]))
        updates = orthogonalise(torch.cat(gradients)).split(group["pieces"])
        for parameter, update in zip(group["params"], updates):
            parameter.mul_(1 - group["lr"] * group["decay"])
            parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"] * 0.2 * max(group["shape"]) ** 0.5)

    def _adam(self, group, betas=(0.9, 0.98), eps=1e-8):
        parameters = [p for p in group["params"] if p.grad is not None]
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"], state["mean"], state["square"] = 0, torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["step"] += 1
        gradients = [p.grad for p in parameters]
        means = [self.state[p]["mean"] for p in parameters]
        squares = [self.state[p]["square"] for p in parameters]
        torch._foreach_lerp_(means, gradients, 1 - betas[0])
        torch._foreach_mul_(squares, betas[1])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - betas[1])
        for parameter, mean, square in zip(parameters, means, squares):
            step = self.state[parameter]["step"]
            denominator = (square / (1 - betas[1] ** step)).sqrt_().add_(eps)
            parameter.addcdiv_(mean, denominator, value=-group["lr"] / (1 - betas[0] ** step))
