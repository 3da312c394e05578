"""The demo model's world: scenes of a few coloured shapes and perhaps a sign, and how they become pictures.

A scene is described in units of an 80 x 80 square whatever the size it is drawn at, so that the same scene can be drawn
at the model's own size for training and larger for a person to look at. Shapes are drawn from their distance functions
with numpy (about a millisecond a picture): the training can afford to draw every picture afresh.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 80
PATCH = 10
GRID = SIZE // PATCH

SHAPES = ["circle", "square", "triangle", "star", "cross", "ring"]
COLOURS = {
    "red": (208, 32, 36),
    "orange": (244, 138, 24),
    "yellow": (248, 222, 48),
    "green": (38, 150, 58),
    "blue": (36, 78, 206),
    "purple": (138, 48, 170),
    "white": (246, 246, 246),
    "black": (24, 24, 26),
}
COLOUR_NAMES = list(COLOURS)
SIZES = ["small", "large"]
RADII = {"small": (7.2, 8.8), "large": (12.5, 15.0)}
TEXTURES = ["plain", "striped", "dotted"]
WORDS = (
    "open stop exit cafe bank shop taxi bus park zoo hotel pizza milk tea book toys music fish sale help north lunch club jazz"
).split()
MAX_OBJECTS = 4

FONT_FILES = [
    "dejavu/DejaVuSans.ttf",
    "dejavu/DejaVuSans-Bold.ttf",
    "dejavu/DejaVuSerif-Bold.ttf",
    "dejavu/DejaVuSansMono-Bold.ttf",
    "liberation/LiberationSans-Bold.ttf",
    "liberation/LiberationSerif-Bold.ttf",
]
BOARDS = [  # board, letters
    ((246, 244, 236), (20, 20, 24)),
    ((250, 236, 150), (24, 20, 16)),
    ((24, 28, 34), (244, 244, 240)),
    ((20, 56, 120), (248, 248, 248)),
    ((22, 84, 48), (244, 248, 240)),
    ((150, 24, 28), (250, 246, 240)),
]


@dataclass
class Thing:
    """One object of a scene; x, y and radius in units of the 80 x 80 square."""

    shape: str
    colour: str
    size: str
    texture: str
    x: float
    y: float
    radius: float
    angle: float
    phase: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass
class Sign:
    text: str  # a word of WORDS or a number below 100, as answers write it
    font: int
    board: int
    x: float
    y: float
    height: float  # of a capital letter


@dataclass
class Scene:
    things: list[Thing]
    sign: Sign | None
    background: dict = field(default_factory=dict)


@functools.lru_cache(maxsize=64)
def _font(index: int, pixels: int) -> ImageFont.FreeTypeFont:
    for folder in ("/usr/share/fonts/truetype", "/usr/local/share/fonts", str(Path.home() / ".fonts")):
        path = Path(folder) / FONT_FILES[index]
        if path.exists():
            return ImageFont.truetype(str(path), pixels, layout_engine=ImageFont.Layout.BASIC)
    raise FileNotFoundError(f"{FONT_FILES[index]}: install the packages fonts-dejavu and fonts-liberation")


CAP = 0.73  # height of a capital in these fonts, as a share of the font's size


@functools.lru_cache(maxsize=4096)
def _letter_edges(font: int, text: str) -> tuple[float, ...]:
    """Left edge of every letter and the right end of the text, for capitals one unit high."""
    face = _font(font, 100)
    return tuple(face.getlength(text[:i].upper()) / (100 * CAP) for i in range(len(text) + 1))


def letter_centres(sign: Sign) -> list[float]:
    edges = _letter_edges(sign.font, sign.text)
    middle = edges[-1] / 2
    return [sign.x + sign.height * ((a + b) / 2 - middle) for a, b in zip(edges, edges[1:])]


def sign_box(sign: Sign) -> tuple[float, float, float, float]:
    half = sign.height * (_letter_edges(sign.font, sign.text)[-1] / 2 + 0.35)
    return sign.x - half, sign.y - sign.height * 0.85, sign.x + half, sign.y + sign.height * 0.85


def sample_sign(rng: np.random.Generator) -> Sign:
    """Letters stand in the second or the seventh row of patches: a small vision tower reads them with less practice."""
    text = str(rng.integers(0, 100)) if rng.random() < 0.35 else WORDS[rng.integers(len(WORDS))]
    font = int(rng.integers(len(FONT_FILES)))
    height = float(rng.uniform(9.2, 11.0))
    y = 15.0 if rng.random() < 0.5 else 65.0
    sign = Sign(text, font, int(rng.integers(len(BOARDS))), SIZE / 2, y + float(rng.uniform(-1.2, 1.2)), height)
    left, _, right, _ = sign_box(sign)
    room = max(0.0, (SIZE - (right - left)) / 2 - 1)
    sign.x += float(rng.uniform(-room, room))
    return sign


def sample_scene(rng: np.random.Generator, count: int | None = None) -> Scene:
    """A random scene: up to four objects with different names, apart in x and in y so that "left of" has an answer."""
    while True:
        sign = sample_sign(rng) if rng.random() < 0.5 else None
        wanted = count or int(rng.choice([1, 2, 3, 4], p=[0.1, 0.25, 0.35, 0.3]))
        box = sign_box(sign) if sign else None
        things: list[Thing] = []
        for _ in range(60):
            if len(things) == wanted:
                break
            size = SIZES[int(rng.random() < (0.5 if wanted < 4 else 0.4))]
            radius = float(rng.uniform(*RADII[size]))
            x, y = rng.uniform(radius * 0.95, SIZE - radius * 0.95, size=2)
            if box:
                dx = max(box[0] - x, x - box[2], 0)
                dy = max(box[1] - y, y - box[3], 0)
                if np.hypot(dx, dy) < radius * 0.9:
                    continue
            if any(np.hypot(x - t.x, y - t.y) < 0.88 * (radius + t.radius) for t in things):
                continue
            if any(abs(x - t.x) < 4 or abs(y - t.y) < 2 for t in things):
                continue
            # Colours and shapes repeat on purpose now and then, so that counts above one and full names are needed.
            shape = SHAPES[rng.integers(len(SHAPES))]
            colour = COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))]
            if things and rng.random() < 0.3:
                shape = things[-1].shape
            elif things and rng.random() < 0.25:
                colour = things[-1].colour
            if any(t.shape == shape and t.colour == colour for t in things):
                continue
            texture = TEXTURES[int(rng.choice(3, p=[0.46, 0.27, 0.27]))]
            angle, phase = float(rng.uniform(-0.22, 0.22)), float(rng.random())
            things.append(Thing(shape, colour, size, texture, float(x), float(y), radius, angle, phase))
        if len(things) == wanted:
            things.sort(key=lambda t: t.x)
            return Scene(things, sign, _sample_background(rng))


def _sample_background(rng: np.random.Generator) -> dict:
    base = rng.uniform(95, 185)
    return {
        "kind": str(rng.choice(["plain", "gradient", "checker", "bands", "cloudy"])),
        "a": (base + rng.uniform(-28, 28, 3)).tolist(),
        "b": (base + rng.uniform(-20, 20) + rng.uniform(-28, 28, 3)).tolist(),
        "period": float(rng.uniform(8, 26)),
        "angle": float(rng.uniform(0, 2 * np.pi)),
        "light": float(rng.uniform(0.82, 1.08)),
        "slope": float(rng.uniform(0, 0.14)),
        "slope_angle": float(rng.uniform(0, 2 * np.pi)),
        "noise": float(rng.uniform(0, 8)),
        "seed": int(rng.integers(2**31)),
    }


@functools.lru_cache(maxsize=4)
def _axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    line = (np.arange(size, dtype=np.float32) + 0.5) * (SIZE / size)
    return line[None, :], line[:, None]


def _background(kind: dict, size: int) -> np.ndarray:
    x, y = _axes(size)
    u = x * np.float32(np.cos(kind["angle"])) + y * np.float32(np.sin(kind["angle"]))
    if kind["kind"] == "plain":
        weight = np.zeros((size, size), np.float32)
    elif kind["kind"] == "gradient":
        weight = (u - u.min()) / (u.max() - u.min())
    elif kind["kind"] == "bands":
        weight = 0.5 + 0.5 * np.sin(u * np.float32(2 * np.pi / kind["period"]))
    elif kind["kind"] == "checker":
        v = y * np.float32(np.cos(kind["angle"])) - x * np.float32(np.sin(kind["angle"]))
        weight = ((np.floor(u / kind["period"]) + np.floor(v / kind["period"])) % 2).astype(np.float32)
    else:
        coarse = np.random.default_rng(kind["seed"]).random((6, 6), dtype=np.float32)
        weight = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    a = np.array(kind["a"], np.float32)
    return a + weight[..., None] * (np.array(kind["b"], np.float32) - a)


def _distance(thing: Thing, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to the shape's edge, negative inside; x, y relative to its centre and turned by its angle."""
    r = thing.radius
    if thing.shape == "circle":
        return np.hypot(x, y) - r * 0.95
    if thing.shape == "ring":
        return np.abs(np.hypot(x, y) - r * 0.75) - r * 0.25
    if thing.shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - r * 0.85
    if thing.shape == "cross":
        ax, ay = np.abs(x), np.abs(y)
        return np.minimum(np.maximum(ax - r, ay - r * 0.33), np.maximum(ax - r * 0.33, ay - r))
    corners = 3 if thing.shape == "triangle" else 5
    sector = 2 * np.pi / corners
    turn = np.arctan2(x, -y)  # zero points up
    turn = np.abs((turn + sector / 2) % sector - sector / 2)
    rho = np.hypot(x, y)
    if thing.shape == "triangle":
        return rho * np.cos(sector / 2 - turn) - r * 0.56
    along, across = rho * np.cos(turn), rho * np.sin(turn)
    outer, inner = r * 1.12, r * 0.5
    bx, by = inner * np.cos(sector / 2) - outer, inner * np.sin(sector / 2)
    return (by * (along - outer) - bx * across) / np.hypot(bx, by)


def _paint_thing(image: np.ndarray, owner: np.ndarray, thing: Thing, number: int) -> None:
    size = image.shape[0]
    scale = size / SIZE
    reach = thing.radius * 1.15 + 1
    x0, x1 = max(0, int((thing.x - reach) * scale)), min(size, int((thing.x + reach) * scale) + 1)
    y0, y1 = max(0, int((thing.y - reach) * scale)), min(size, int((thing.y + reach) * scale) + 1)
    ax, ay = _axes(size)
    dx, dy = ax[:, x0:x1] - np.float32(thing.x), ay[y0:y1] - np.float32(thing.y)
    cos, sin = np.float32(np.cos(thing.angle)), np.float32(np.sin(thing.angle))
    x, y = dx * cos + dy * sin, dy * cos - dx * sin
    distance = _distance(thing, x, y).astype(np.float32)

    colour = np.array(COLOURS[thing.colour], np.float32)
    second = colour * 0.4 if colour.mean() > 150 else colour * 0.3 + 255 * 0.7
    if thing.texture == "striped":
        turned = x * np.float32(np.cos(3 * thing.phase)) + y * np.float32(np.sin(3 * thing.phase))
        weight = np.clip(np.sin(turned * np.float32(2 * np.pi / 5.2) + 6.28 * thing.phase) * 3 - 0.9, 0, 1)
    elif thing.texture == "dotted":
        step = 5.4
        gx = (x + step * (0.5 + thing.phase)) % step - step / 2
        gy = (y + step * (0.5 + 3 * thing.phase)) % step - step / 2
        weight = np.clip((1.5 - np.hypot(gx, gy)) * scale + 0.5, 0, 1)
    else:
        weight = np.zeros_like(distance)
    paint = colour + weight[..., None].astype(np.float32) * (second - colour)
    paint *= (1 - 0.4 * np.clip((distance + 1.0) * 1.5, 0, 1))[..., None]  # a darker rim
    cover = np.clip(0.5 - distance * scale, 0, 1)
    part = image[y0:y1, x0:x1]
    part += cover[..., None] * (paint - part)
    owner[y0:y1, x0:x1][cover > 0.5] = number


def _paint_sign(image: np.ndarray, owner: np.ndarray, sign: Sign, number: int) -> None:
    size = image.shape[0]
    fine = 4 if size <= 2 * SIZE else 1  # letters are drawn larger and averaged, so that hinting does not depend on the size
    unit = size / SIZE * fine
    left, top, right, bottom = sign_box(sign)
    x0, y0 = max(0, int(left * size / SIZE)), max(0, int(top * size / SIZE))
    x1, y1 = min(size, int(right * size / SIZE) + 1), min(size, int(bottom * size / SIZE) + 1)
    canvas = Image.new("L", ((x1 - x0) * fine, (y1 - y0) * fine), 0)
    draw = ImageDraw.Draw(canvas)
    face = _font(sign.font, max(1, round(sign.height * unit / CAP)))
    draw.text(
        (sign.x * unit - x0 * fine, (sign.y + sign.height / 2) * unit - y0 * fine), sign.text.upper(), 255, face, anchor="ms"
    )
    letters = np.asarray(canvas, np.float32).reshape(y1 - y0, fine, x1 - x0, fine).mean((1, 3))[..., None] / 255
    board, ink = (np.array(c, np.float32) for c in BOARDS[sign.board])
    image[y0:y1, x0:x1] = board + letters * (ink - board)
    owner[y0:y1, x0:x1] = number


SIGN_OWNER = MAX_OBJECTS + 1


def render(scene: Scene, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """The picture (uint8, size x size x 3) and, for every pixel, whose it is: 0 background, 1.. objects, SIGN_OWNER."""
    image = _background(scene.background, size)
    owner = np.zeros((size, size), np.uint8)
    if scene.sign:
        _paint_sign(image, owner, scene.sign, SIGN_OWNER)
    for number in sorted(range(len(scene.things)), key=lambda i: scene.things[i].phase):
        _paint_thing(image, owner, scene.things[number], number + 1)
    kind = scene.background
    x, y = _axes(size)
    slope = np.float32(kind["slope"] / SIZE)
    cos, sin = np.float32(np.cos(kind["slope_angle"])), np.float32(np.sin(kind["slope_angle"]))
    light = (x - SIZE / 2) * slope * cos + (y - SIZE / 2) * slope * sin
    image *= (np.float32(kind["light"]) + light)[..., None]
    noise = np.random.default_rng(kind["seed"] + 1)
    image += noise.standard_normal((SIZE, SIZE, 3), np.float32).repeat(max(1, size // SIZE), 0).repeat(max(1, size // SIZE), 1)[
        :size, :size
    ] * np.float32(kind["noise"])
    return np.clip(image + 0.5, 0, 255).astype(np.uint8), owner

