"""Writes the checkpoint folder exactly as it is shipped, from the last state of a training.

    python examples/demo_model/export.py --state DIR --to examples/assets/instructblip-demo
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import model as demo


def trained_weights(state: Path) -> tuple[dict[str, torch.Tensor], str]:
    """The weights of the furthest stage reached, and that stage's name."""
    for name in ("joint", "heads", "welded"):
        path = state / f"{name}.pt"
        if path.exists():
            saved = torch.load(path, map_location="cpu", weights_only=True)
            print(f"{path}: step {saved.get('step', 0)}")
            return saved.get("average", saved["module"]), name
    raise FileNotFoundError(f"{state}: no joint.pt, heads.pt or welded.pt; train first")


def trained_network(states: list[Path], shares: list[float], decoder: str) -> tuple[torch.nn.Module, str]:
    """The network whose weights are the mean of those of several runs from one start, weighted with `shares` (Wortsman et
    al., "Model soups"), and the stage that they reached."""
    runs = [trained_weights(state) for state in states]
    stages = {stage for _, stage in runs}
    if len(stages) != 1:
        raise ValueError(f"the runs reached different stages: {', '.join(sorted(stages))}")
    total = sum(shares)
    weights = {
        name: sum(share / total * run[name] for share, (run, _) in zip(shares, runs)) if first.is_floating_point() else first
        for name, first in runs[0][0].items()
    }
    net = demo.build(decoder)
    net.load_state_dict({k[4:]: v for k, v in weights.items() if k.startswith("net.")})
    return net, stages.pop()


def export(net: torch.nn.Module, decoder: str, folder: Path) -> None:
    net = net.to(torch.bfloat16).eval()
    net.save_pretrained(folder)
    demo.processor(decoder).save_pretrained(folder)
    size = (folder / "model.safetensors").stat().st_size
    print(f"{folder}: {size / 1e6:.2f} MB of weights, {sum(p.numel() for p in net.parameters())} parameters")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, nargs="+", required=True, help="folder of a run, or of several to average")
    parser.add_argument("--shares", type=float, nargs="+", help="of the runs in their average (default: equal)")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--decoder", choices=demo.DECODERS, default="llama")
    arguments = parser.parse_args()
    shares = arguments.shares or [1.0] * len(arguments.state)
    if len(shares) != len(arguments.state):
        parser.error(f"--shares has {len(shares)} numbers for {len(arguments.state)} runs")
    net, stage = trained_network(arguments.state, shares, arguments.decoder)
    print("stage:", stage)
    export(net, arguments.decoder, arguments.to)


if __name__ == "__main__":
    main()
