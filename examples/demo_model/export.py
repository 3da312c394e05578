"""Writes the checkpoint folder exactly as it is shipped, from the last state of a training.

    python examples/demo_model/export.py --state DIR --to examples/assets/instructblip-demo
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import model as demo


def trained_network(state: Path, decoder: str) -> tuple[torch.nn.Module, str]:
    """The network of the furthest stage reached, and that stage's name."""
    net = demo.build(decoder)
    for name in ("joint", "heads", "welded"):
        path = state / f"{name}.pt"
        if path.exists():
            saved = torch.load(path, map_location="cpu", weights_only=True)
            weights = saved.get("average", saved["module"])
            print(f"{path}: step {saved.get('step', 0)}")
            net.load_state_dict({k[4:]: v for k, v in weights.items() if k.startswith("net.")})
            return net, name
    raise FileNotFoundError(f"{state}: no joint.pt, heads.pt or welded.pt; train first")


def export(net: torch.nn.Module, decoder: str, folder: Path) -> None:
    net = net.to(torch.bfloat16).eval()
    net.save_pretrained(folder)
    demo.processor(decoder).save_pretrained(folder)
    size = (folder / "model.safetensors").stat().st_size
    print(f"{folder}: {size / 1e6:.2f} MB of weights, {sum(p.numel() for p in net.parameters())} parameters")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--decoder", choices=demo.DECODERS, default="llama")
    arguments = parser.parse_args()
    net, stage = trained_network(arguments.state, arguments.decoder)
    print("stage:", stage)
    export(net, arguments.decoder, arguments.to)


if __name__ == "__main__":
    main()
