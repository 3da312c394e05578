"""What every patch of a picture shows: the targets of the vision tower, patch by patch.

The "oracle" features are built from the same table: they stand for the output of a perfect vision tower, so that the
Q-Former and the language model can learn at the same time as the tower.
"""

from __future__ import annotations

import numpy as np
import torch

from scene import (ALL_SHAPES, COLOUR_NAMES, GRID, PATCH, SIGN_OWNER, SIZE, SIZES, TEXTURES, WORDS, Scene, Sign, letter_spans,
                   sign_box)

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
# Columns of the table, with the number of classes; -1 where a column does not apply.
COLUMNS = {
    "kind": 4,  # background, object, sign, part of a photograph
    "shape": len(ALL_SHAPES),
    "colour": len(COLOUR_NAMES),
    "size": len(SIZES),
    "texture": len(TEXTURES),
    "word": len(WORDS) + 2,  # the last classes: a number, and a text that is not taught
    "tens": 11,  # the last class: no such digit
    "ones": 11,
    "letter": len(LETTERS),
}
COLUMN = {name: i for i, name in enumerate(COLUMNS)}
BINS = 10  # along each axis; a place is a mixture of two neighbouring bins
SIZE_BINS = 6
NUMBER, UNTAUGHT = len(WORDS), len(WORDS) + 1


def sign_classes(sign: Sign) -> tuple[int, int, int]:
    """Word, tens and ones of a sign's text; the last class of the digits where there is none."""
    if not sign.known:
        return UNTAUGHT, 10, 10
    if not sign.text.isdigit():
        return WORDS.index(sign.text), 10, 10
    return NUMBER, int(sign.text[0]) if len(sign.text) == 2 else 10, int(sign.text[-1])


def extent_of(radius: float) -> float:
    """0 for the smallest things, 1 for the largest, the same for each doubling."""
    return float(np.log(radius / 3.0) / np.log(37.0 / 3.0))


def patch_table(scene: Scene, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The table (patches x columns, int8) and, for each patch's object, its centre in shares of the picture and its extent
    (patches x 3): what tells the patches of one large thing from those of many small ones.
    """
    cell = owner.shape[0] // GRID
    cells = owner.reshape(GRID, cell, GRID, cell).transpose(0, 2, 1, 3).reshape(GRID * GRID, cell * cell)
    table = np.full((GRID * GRID, len(COLUMNS)), -1, np.int8)
    places = np.zeros((GRID * GRID, 3), np.float32)
    table[:, COLUMN["kind"]] = 0 if scene.photo is None else 3
    if scene.photo is not None or not (scene.things or scene.sign):
        return table, places
    numbers = [*range(1, len(scene.things) + 1), *([SIGN_OWNER] if scene.sign else [])]
    counts = np.stack([(cells == number).sum(1) for number in numbers], 1)
    best = counts.argmax(1)
    seen = counts.max(1) >= 0.1 * cell * cell
    for i, most in enumerate(counts.argmax(0)):  # a small thing on the border of four patches belongs to one at least
        best[most], seen[most] = i, True
    for number, thing in enumerate(scene.things):
        mine = seen & (best == number)
        table[mine, 0:5] = (1, ALL_SHAPES.index(thing.shape), COLOUR_NAMES.index(thing.colour), SIZES.index(thing.size),
                            TEXTURES.index(thing.texture))
        places[mine] = (thing.x / SIZE, thing.y / SIZE, extent_of(thing.radius))
    if scene.sign:
        sign = scene.sign
        mine = seen & (best == len(scene.things))
        table[mine, 0] = 2
        table[mine, 5:8] = sign_classes(sign)
        places[mine] = (sign.x / SIZE, sign.y / SIZE, extent_of(2 * sign.height))
        middles = (np.arange(GRID) + 0.5) * PATCH
        spans = letter_spans(sign)
        near = np.abs(middles[:, None] - np.mean(spans, 1))
        close = near.min(1) <= np.maximum(6.0, np.ptp(spans, 1)[near.argmin(1)] / 2 + 2)
        rows = np.abs(middles - sign.y) <= max(6.0, sign.height / 2 + 2)
        letters = np.array([LETTERS.index(letter) for letter in sign.text.upper()])[near.argmin(1)]
        told = mine.reshape(GRID, GRID) & rows[:, None] & close[None]
        table[told.ravel(), COLUMN["letter"]] = np.broadcast_to(letters, (GRID, GRID))[told]
    return table, places


class Oracle:
    """Fixed random projection of the table to the vision tower's width, with a vector for each patch's own place."""

    def __init__(self, width: int, seed: int = 20):
        generator = torch.Generator().manual_seed(seed)
        self.taken = [name for name in COLUMNS if name != "letter"]
        rows = sum(COLUMNS[name] for name in self.taken) + 2 * BINS + SIZE_BINS
        directions = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
        self.projection = directions[:rows] if rows <= width else torch.randn(rows, width, generator=generator) / width**0.5
        self.places = torch.randn(GRID * GRID + 1, width, generator=generator) / width**0.5

    def __call__(self, table: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
        """[batch, patches + 1, width] of unit variance; the first row stands for the class token."""
        parts = []
        for name in self.taken:
            values = table[..., COLUMN[name]].long()
            hot = torch.nn.functional.one_hot(values.clamp(min=0), COLUMNS[name]).float()
            parts.append(hot * (values >= 0)[..., None])
        there = ((table[..., 0] == 1) | (table[..., 0] == 2))[..., None]
        for axis, bins in enumerate((BINS, BINS, SIZE_BINS)):
            place = (centres[..., axis] * bins - 0.5).clamp(0, bins - 1.001)
            low = place.floor()
            hot = torch.nn.functional.one_hot(low.long(), bins).float() * (1 - (place - low))[..., None]
            hot += torch.nn.functional.one_hot(low.long() + 1, bins).float() * (place - low)[..., None]
            parts.append(hot * there)
        told = torch.cat(parts, -1) @ self.projection
        told = torch.cat([torch.zeros_like(told[:, :1]), told], 1) + 0.7 * self.places
        return torch.nn.functional.layer_norm(told, told.shape[-1:])
