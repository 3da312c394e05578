"""Draws one unseen scene at any size, for a person to look at or to try the model on.

    python examples/demo_model/picture.py --number 3 --things 3 --to scene.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from questions import caption_of
from scene import render, sample_scene

SEEDS = 7  # first part of these scenes' seeds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--things", type=int, help="how many objects, instead of as many as the dice say")
    parser.add_argument("--size", type=int, default=320, help="a multiple of 80")
    parser.add_argument("--to", type=Path, required=True)
    arguments = parser.parse_args()
    scene = sample_scene(np.random.default_rng((SEEDS, arguments.number)), arguments.things)
    Image.fromarray(render(scene, arguments.size)[0]).save(arguments.to, optimize=True)
    print(caption_of(scene))


if __name__ == "__main__":
    main()
