"""How well a checkpoint folder does outside its world: on drawings as a paint program makes them, flat colours on one ground.

    python examples/demo_model/drawings.py --model examples/assets/instructblip-demo

Prints a table in Markdown: descriptions that name the colour and shape of every object and nothing else, and words and
numbers read from a sign drawn above a circle, each with its 95 % interval.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from evaluate import answer, interval, load, named
from scene import SHAPES, WORDS

SIDE = 400
GROUNDS = {"white": (255, 255, 255), "grey": (150, 150, 150)}
PAINTS = {  # of a well-known paint program's palette
    "red": (237, 28, 36), "orange": (255, 127, 39), "yellow": (255, 242, 0), "green": (34, 177, 76),
    "blue": (63, 72, 204), "purple": (163, 73, 164), "black": (0, 0, 0),
}
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"


def draw_shape(draw, shape: str, x: float, y: float, r: float, paint, ground) -> None:
    def corners(count: int, radius):
        turns = [2 * math.pi * i / count for i in range(count)]
        return [(x + radius(i) * math.sin(turn), y - radius(i) * math.cos(turn)) for i, turn in enumerate(turns)]

    if shape in ("circle", "ring"):
        draw.ellipse((x - r, y - r, x + r, y + r), fill=paint)
    if shape == "ring":
        draw.ellipse((x - 0.55 * r, y - 0.55 * r, x + 0.55 * r, y + 0.55 * r), fill=ground)
    if shape == "square":
        draw.rectangle((x - 0.88 * r, y - 0.88 * r, x + 0.88 * r, y + 0.88 * r), fill=paint)
    if shape == "triangle":
        draw.polygon(corners(3, lambda i: 1.15 * r), fill=paint)
    if shape == "star":
        draw.polygon(corners(10, lambda i: r * (1.15, 0.52)[i % 2]), fill=paint)
    if shape == "cross":
        draw.rectangle((x - r, y - 0.36 * r, x + r, y + 0.36 * r), fill=paint)
        draw.rectangle((x - 0.36 * r, y - r, x + 0.36 * r, y + r), fill=paint)


def drawing(rng: random.Random, count: int, ground: str, radii: tuple[float, float]):
    """A picture of `count` objects apart from each other, their radii in shares of its side, and what they are."""
    picture = Image.new("RGB", (SIDE, SIDE), GROUNDS[ground])
    draw = ImageDraw.Draw(picture)
    placed, things = [], Counter()
    while len(placed) < count:
        r = rng.uniform(*radii) * SIDE
        x, y = (rng.uniform(r + 8, SIDE - r - 8) for _ in range(2))
        if all(math.hypot(x - other[0], y - other[1]) > r + other[2] + 12 for other in placed):
            placed.append((x, y, r))
            shape, colour = rng.choice(SHAPES), rng.choice(list(PAINTS))
            draw_shape(draw, shape, x, y, r, PAINTS[colour], GROUNDS[ground])
            things[colour, shape] += 1
    return picture, things


def sign(text: str, middle: float):
    """A board with the text in capitals, an eighth of the picture high, around the height `middle`, above a red circle."""
    picture = Image.new("RGB", (SIDE, SIDE), (120, 150, 120))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.truetype(FONT, SIDE // 6)
    left, top, right, bottom = draw.textbbox((0, 0), text.upper(), font)
    half = (right - left) / 2 + 22
    draw.rectangle((200 - half, middle - 42, 200 + half, middle + 42), fill=(246, 244, 236))
    draw.text((200 - (left + right) / 2, middle - (top + bottom) / 2), text.upper(), (20, 20, 24), font)
    draw_shape(draw, "circle", 200, 270, 50, PAINTS["red"], None)
    return picture


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--drawings", type=int, default=200, help="of each kind")
    arguments = parser.parse_args()
    processor, model = load(arguments.model)
    print("| drawings | seen | right | 95 % interval |\n| --- | --- | --- | --- |")

    def show(name, right):
        low, high = interval(sum(right), len(right))
        print(f"| {name} | {len(right)} | {100 * sum(right) / len(right):.0f} % | {100 * low:.0f}-{100 * high:.0f} % |")

    usual, large = (0.06, 0.165), (0.2, 0.3)
    kinds = [(f"{count} on {ground}", count, ground, usual) for ground in GROUNDS for count in (1, 2, 3)]
    for name, count, ground, radii in [*kinds, ("1 on white, two fifths of its width or more", 1, "white", large)]:
        rng = random.Random(name)
        made = [drawing(rng, count, ground, radii) for _ in range(arguments.drawings)]
        given = answer(processor, model, [picture for picture, _ in made], ["describe the image"] * len(made))
        pairs = [Counter((thing[2], thing[3]) for thing in named(text).elements()) for text in given]
        show(name, [found == things and "sign" not in text for found, (_, things), text in zip(pairs, made, given)])
    texts = [*WORDS, *map(str, range(0, 100, 4))]
    for name, middle in (("a sign where the training's were", 75), ("an eightieth lower", 80), ("a twentieth lower", 95)):
        read = answer(processor, model, [sign(text, middle) for text in texts], ["what does the sign say?"] * len(texts))
        show(name, [found == f"it says {text}" for found, text in zip(read, texts)])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
