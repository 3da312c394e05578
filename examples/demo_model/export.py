"""Writes the checkpoint folder exactly as it is shipped, from the last state of a training.

    python examples/demo_model/export.py --state DIR --to examples/assets/instructblip-demo
    python examples/demo_model/export.py --state DIR --retrieval --to examples/assets/blip2-demo-itm
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import PreTrainedModel, ProcessorMixin

import model as demo
import retrieval_stage

STAGES = ("joint", "heads", "welded")


def trained_weights(state: Path, stages: tuple[str, ...] = STAGES) -> tuple[dict[str, torch.Tensor], str]:
    """The weights of the first of `stages` that was reached, and that stage's name."""
    for name in stages:
        path = state / f"{name}.pt"
        if path.exists():
            saved = torch.load(path, map_location="cpu", weights_only=True)
            print(f"{path}: step {saved.get('step', 0)}")
            return saved.get("average", saved["module"]), name
    raise FileNotFoundError(f"{state}: no {'.pt, '.join(stages)}.pt; train first")


def load_mean(net: PreTrainedModel, states: list[Path], shares: list[float], stages: tuple[str, ...] = STAGES) -> str:
    """Gives the network the mean of the weights of several runs from one start, weighted with `shares` (Wortsman et al.,
    "Model soups"). Returns the stage that they reached."""
    runs = [trained_weights(state, stages) for state in states]
    reached = {stage for _, stage in runs}
    if len(reached) != 1:
        raise ValueError(f"the runs reached different stages: {', '.join(sorted(reached))}")
    total = sum(shares)
    weights = {
        name: sum(share / total * run[name] for share, (run, _) in zip(shares, runs)) if first.is_floating_point() else first
        for name, first in runs[0][0].items()
    }
    net.load_state_dict({k[4:]: v for k, v in weights.items() if k.startswith("net.")})
    return reached.pop()


def export(net: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> None:
    net = net.to(torch.bfloat16).eval()
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    size = (folder / "model.safetensors").stat().st_size
    print(f"{folder}: {size / 1e6:.2f} MB of weights, {sum(p.numel() for p in net.parameters())} parameters")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, nargs="+", required=True, help="folder of a run, or of several to average")
    parser.add_argument("--shares", type=float, nargs="+", help="of the runs in their average (default: equal)")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--decoder", choices=demo.DECODERS, default="llama")
    parser.add_argument("--retrieval", action="store_true", help="the model of the retrieval stage")
    arguments = parser.parse_args()
    shares = arguments.shares or [1.0] * len(arguments.state)
    if len(shares) != len(arguments.state):
        parser.error(f"--shares has {len(shares)} numbers for {len(arguments.state)} runs")
    if arguments.retrieval:
        net, processor, stages = retrieval_stage.build(), retrieval_stage.processor(), ("retrieval",)
    else:
        net, processor, stages = demo.build(arguments.decoder), demo.processor(arguments.decoder), STAGES
    print("stage:", load_mean(net, arguments.state, shares, stages))
    export(net, processor, arguments.to)


if __name__ == "__main__":
    main()
