"""What every patch of a picture shows: the answers that the vision tower is taught patch by patch.

The same table, made from the scene without a picture, is what the "oracle" features are built from: stand-ins for a
perfect vision tower's output, on which the Q-Former and the language model learn while the tower itself still does.
"""

from __future__ import annotations

import numpy as np
import torch

from scene import (COLOUR_NAMES, GRID, MAX_OBJECTS, PATCH, SHAPES, SIGN_OWNER, SIZE, SIZES, TEXTURES, WORDS, Scene,
                   letter_centres, sign_box)

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
# Columns of the table, with the number of classes; -1 where a patch has nothing to say.
COLUMNS = {
    "kind": 3,  # background, object, sign
    "shape": len(SHAPES),
    "colour": len(COLOUR_NAMES),
    "size": len(SIZES),
    "texture": len(TEXTURES),
    "word": len(WORDS) + 1,  # the last class: a number
    "tens": 11,  # the last class: no such digit
    "ones": 11,
    "letter": len(LETTERS),
}
COLUMN = {name: i for i, name in enumerate(COLUMNS)}
BINS = 10  # a place along an axis is also told as two neighbouring bins of these


def sign_classes(text: str | None) -> tuple[int, int, int]:
    """Word, tens and ones of a sign's text; the last class of each where there is none."""
    if text is None or not text.isdigit():
        return (WORDS.index(text) if text else len(WORDS)), 10, 10
    return len(WORDS), int(text[0]) if len(text) == 2 else 10, int(text[-1])


def patch_table(scene: Scene, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The table (patches x columns, int8) and each patch's object's centre (patches x 2, in shares of the picture)."""
    cell = owner.shape[0] // GRID
    cells = owner.reshape(GRID, cell, GRID, cell).transpose(0, 2, 1, 3).reshape(GRID * GRID, cell * cell)
    counts = np.stack([(cells == number).sum(1) for number in range(1, SIGN_OWNER + 1)], 1)
    best = counts.argmax(1)
    seen = counts.max(1) >= 0.25 * cell * cell

    table = np.full((GRID * GRID, len(COLUMNS)), -1, np.int8)
    centres = np.zeros((GRID * GRID, 2), np.float32)
    table[:, COLUMN["kind"]] = 0
    for number, thing in enumerate(scene.things):
        mine = seen & (best == number)
        table[mine, 0:5] = (1, SHAPES.index(thing.shape), COLOUR_NAMES.index(thing.colour), SIZES.index(thing.size),
                            TEXTURES.index(thing.texture))
        centres[mine] = (thing.x / SIZE, thing.y / SIZE)
    if scene.sign:
        mine = seen & (best == MAX_OBJECTS)
        table[mine, 0] = 2
        table[mine, 5:8] = sign_classes(scene.sign.text)
        row = int(scene.sign.y // PATCH)
        places = letter_centres(scene.sign)
        left, _, right, _ = sign_box(scene.sign)
        for column in range(GRID):
            middle = (column + 0.5) * PATCH
            patch = row * GRID + column
            nearest = min(range(len(places)), key=lambda i: abs(places[i] - middle))
            if mine[patch] and abs(places[nearest] - middle) <= 6:
                table[patch, COLUMN["letter"]] = LETTERS.index(scene.sign.text[nearest].upper())
        centres[mine] = (scene.sign.x / SIZE, scene.sign.y / SIZE)
    return table, centres


class Oracle:
    """Fixed random projection of the table to the vision tower's width, with a vector for each patch's own place."""

    def __init__(self, width: int, seed: int = 20):
        generator = torch.Generator().manual_seed(seed)
        self.taken = [name for name in COLUMNS if name != "letter"]
        rows = sum(COLUMNS[name] for name in self.taken) + 2 * BINS
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
        for axis in range(2):
            place = (centres[..., axis] * BINS - 0.5).clamp(0, BINS - 1.001)
            low = place.floor()
            hot = torch.nn.functional.one_hot(low.long(), BINS).float() * (1 - (place - low))[..., None]
            hot += torch.nn.functional.one_hot(low.long() + 1, BINS).float() * (place - low)[..., None]
            parts.append(hot * (table[..., 0] > 0)[..., None])
        told = torch.cat(parts, -1) @ self.projection
        told = torch.cat([torch.zeros_like(told[:, :1]), told], 1) + 0.7 * self.places
        return torch.nn.functional.layer_norm(told, told.shape[-1:])
