"""The demo model's world: scenes of coloured shapes and perhaps a text, and how they become pictures.

A scene is described in units of an 80 x 80 square whatever the size it is drawn at, so that the same scene can be drawn
at the model's own size for training and larger for a person to look at. Shapes are drawn from their distance functions
with numpy (about a millisecond a picture): the training can afford to draw every picture afresh.

Half of the scenes look as if a paint program had made them: flat colours on one ground. Some hold what the model has no
words for, so that it learns to say so: shapes of other kinds, texts of other words, pictures like photographs.
"""

from __future__ import annotations

import colorsys
import functools
import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from oddities import odd_outline, odd_text, photograph

SIZE = 80
PATCH = 10
GRID = SIZE // PATCH

SHAPES = ["circle", "square", "triangle", "star", "cross", "ring"]
ODD = "object"  # what a thing of any other shape is called
ALL_SHAPES = [*SHAPES, ODD]
# Hue in degrees, saturation and value of each colour: wide where the word is beyond doubt, apart from the neighbours.
COLOURS = {
    "red": ((-8, 6), (0.75, 1), (0.72, 1)),
    "orange": ((22, 38), (0.75, 1), (0.92, 1)),
    "yellow": ((50, 60), (0.6, 1), (0.92, 1)),
    "green": ((88, 152), (0.5, 1), (0.42, 1)),
    "blue": ((205, 242), (0.6, 1), (0.55, 1)),
    "purple": ((272, 302), (0.5, 1), (0.45, 0.72)),
    "white": ((0, 360), (0, 0.03), (0.95, 1)),
    "black": ((0, 360), (0, 0.3), (0, 0.1)),
    "pink": ((326, 354), (0.2, 0.6), (0.95, 1)),
    "brown": ((14, 30), (0.42, 0.9), (0.38, 0.64)),
    "grey": ((0, 360), (0, 0.05), (0.42, 0.68)),
}
COLOUR_NAMES = list(COLOURS)
SIZES = ["small", "large"]
RADII = {"small": (3.1, 9.6), "large": (12.0, 36.5)}  # nothing in between, where the words would be a matter of taste
TEXTURES = ["plain", "striped", "dotted"]
WORDS = (
    "open stop exit cafe bank shop taxi bus park zoo hotel pizza milk tea book toys music fish sale help north lunch club jazz"
).split()
SLOTS = 4  # so many objects are listed one by one; more are summed up
MOST = 10

FONT_FILES = [
    "dejavu/DejaVuSans.ttf",
    "dejavu/DejaVuSans-Bold.ttf",
    "dejavu/DejaVuSerif.ttf",
    "dejavu/DejaVuSerif-Bold.ttf",
    "dejavu/DejaVuSansMono-Bold.ttf",
    "dejavu/DejaVuSansCondensed-Bold.ttf",
    "liberation/LiberationSans-Regular.ttf",
    "liberation/LiberationSans-Bold.ttf",
    "liberation/LiberationSerif-Regular.ttf",
    "liberation/LiberationSerif-Bold.ttf",
    "liberation/LiberationMono-Bold.ttf",
    "liberation/LiberationSansNarrow-Bold.ttf",
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
    rgb: tuple[int, int, int] = (0, 0, 0)
    form: float = 0.5  # from 0 to 1: how thick a cross's arms, a ring's band, how deep a star's notches
    stretch: float = 1.0  # its width grows by this, its height shrinks by it
    line: float = 0.0  # of an object drawn as an outline: the line's width
    border: str = ""  # "rim": a little darker at the edge; "dark": a dark line around it

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def reach(self) -> float:
        return self.radius * max(self.stretch, 1 / self.stretch)


@dataclass
class Sign:
    text: str  # as answers write it: a word of WORDS, a number below 100, or something that the model is not taught
    font: int
    x: float
    y: float
    height: float  # of a capital letter
    ink: tuple[int, int, int] = (0, 0, 0)
    board: tuple[int, int, int] | None = None  # None: the letters stand on the ground itself
    case: str = "upper"
    stretch: float = 1.0

    @property
    def known(self) -> bool:
        return self.text in WORDS or self.text.isdigit() and len(self.text) <= 2

    @property
    def shown(self) -> str:
        return getattr(self.text, {"upper": "upper", "lower": "lower", "title": "capitalize"}[self.case])()


@dataclass
class Scene:
    things: list[Thing]
    sign: Sign | None
    background: dict = field(default_factory=dict)
    photo: int | None = None  # seed of a picture like a photograph, which holds nothing that has a name


@functools.lru_cache(maxsize=2048)
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
    return tuple(face.getlength(text[:i]) / (100 * CAP) for i in range(len(text) + 1))


def letter_spans(sign: Sign) -> list[tuple[float, float]]:
    """Left and right edge of every letter in the picture."""
    edges = _letter_edges(sign.font, sign.shown)
    places = [sign.x + sign.height * sign.stretch * (edge - edges[-1] / 2) for edge in edges]
    return list(zip(places, places[1:]))


def sign_box(sign: Sign) -> tuple[float, float, float, float]:
    half = sign.height * sign.stretch * (_letter_edges(sign.font, sign.shown)[-1] / 2 + 0.35)
    return sign.x - half, sign.y - sign.height * 0.85, sign.x + half, sign.y + sign.height * 0.85


def far(a, b, apart: float = 75) -> bool:
    return math.dist(a, b) > apart


def _between(rng, low, high, logarithmic: bool = False) -> float:
    share = rng.random()
    return low * (high / low) ** share if logarithmic else low + (high - low) * share


def paint(rng: np.random.Generator, colour: str) -> tuple[int, int, int]:
    """One of the colour's values; the strongest ones, which palettes have, are frequent."""
    (low, high), saturation, value = COLOURS[colour]
    s, v = _between(rng, *saturation), _between(rng, *value)
    if rng.random() < 0.4:
        s, v = saturation[1] if s > 0.1 else 0.0, value[1] if colour != "black" else value[0]
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(_between(rng, low, high) % 360 / 360, s, v))


def sample_sign(rng: np.random.Generator, ground) -> Sign:
    """Anywhere in the picture, of a twelfth to a third of its height, on a board or on the ground itself."""
    chance = rng.random()
    text = (str(rng.integers(0, 100)) if chance < 0.28 else WORDS[rng.integers(len(WORDS))] if chance < 0.84
            else odd_text(rng, WORDS))
    case = str(rng.choice(["upper", "lower", "title"], p=[0.7, 0.23, 0.07]))
    while True:
        board = tuple(int(v) for v in rng.integers(0, 256, 3)) if rng.random() < 0.4 else tuple(
            [int(rng.choice([0, 20, 245, 255]))] * 3)
        ink = tuple([int(rng.choice([0, 255]))] * 3) if rng.random() < 0.6 else paint(rng, str(rng.choice(COLOUR_NAMES)))
        plain = rng.random() < 0.5
        if far(ink, ground if plain else board, 190) and (plain or far(board, ground, 40)):
            break
        if rng.random() < 0.02:
            plain, board, ink = False, ((0, 0, 0) if sum(ground) > 380 else (255, 255, 255)), tuple(
                [255 if sum(ground) > 380 else 0] * 3)
            break
    sign = Sign(text, int(rng.integers(len(FONT_FILES))), SIZE / 2, SIZE / 2, 1.0, ink, None if plain else board, case)
    sign.stretch = _between(rng, 0.75, 1.35, True) if rng.random() < 0.35 else 1.0
    left, top, right, bottom = sign_box(sign)
    widest = (SIZE - 1) / (right - left)
    sign.height = min(_between(rng, 7.8 if case == "lower" else 6.8, 24, True), widest)
    half, tall = (right - left) / 2 * sign.height, sign.height * 0.85
    sign.x, sign.y = _between(rng, half, SIZE - half), _between(rng, tall, SIZE - tall)
    return sign


COUNTS = {0: 0.11, 1: 0.22, 2: 0.19, 3: 0.17, 4: 0.15, 5: 0.06, 6: 0.05, 7: 0.02, 8: 0.015, 9: 0.01, 10: 0.005}
LARGEST = {1: 36.5, 2: 20.0, 3: 17.0, 4: 15.0}


def _radius(rng, wanted: int) -> float:
    """Over all sizes that leave room for so many, each doubling as frequent as the other."""
    while True:
        radius = _between(rng, RADII["small"][0], LARGEST.get(wanted, RADII["small"][1]), True)
        if radius <= RADII["small"][1] or radius >= RADII["large"][0]:
            return radius


def _sample_thing(rng, wanted: int, ground, flat: bool, stretch: float) -> Thing:
    radius = _radius(rng, wanted)
    size = SIZES[int(radius >= RADII["large"][0])]
    shape = SHAPES[rng.integers(len(SHAPES))]
    if radius > 8 and rng.random() < 0.12:
        shape = ODD
    colour = COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))]
    texture = "plain" if radius < 6.5 else TEXTURES[int(rng.choice(3, p=[0.7, 0.15, 0.15] if flat else [0.46, 0.27, 0.27]))]
    angle = float(rng.uniform(-0.22, 0.22)) if not flat or rng.random() < 0.4 else 0.0
    if shape == "triangle" and rng.random() < 0.2:
        angle += float(rng.choice([np.pi, np.pi / 2, -np.pi / 2]))
    thing = Thing(shape, colour, size, texture, 0.0, 0.0, radius, angle, float(rng.random()), form=float(rng.random()))
    own = _between(rng, 0.8, 1.25, True) if rng.random() < 0.15 else 1.0
    most = 38 / radius
    thing.stretch = min(max(stretch * own, 1 / most), most)
    if shape not in ("ring", "circle", ODD) and radius > 6 and rng.random() < 0.13:
        thing.line, thing.texture = _between(rng, 0.8, 3.0), "plain"
    elif rng.random() < (0.15 if flat else 0.5):
        thing.border = "dark" if radius > 6 and rng.random() < 0.4 else "rim"
    return thing


def _fits(thing: Thing, things: list[Thing], box, crowded: bool) -> bool:
    if box:
        dx = max(box[0] - thing.x, thing.x - box[2], 0)
        dy = max(box[1] - thing.y, thing.y - box[3], 0)
        if math.hypot(dx, dy) < thing.reach * 0.95:
            return False
    if any(math.hypot(thing.x - t.x, thing.y - t.y) < 0.95 * (thing.reach + t.reach) + 1 for t in things):
        return False
    return crowded or not any(abs(thing.x - t.x) < 4 or abs(thing.y - t.y) < 2 for t in things)


def sample_scene(rng: np.random.Generator, count: int | None = None) -> Scene:
    """A random scene. Up to four objects are apart in x, so that they have an order from left to right."""
    if count is None and rng.random() < 0.05:
        return Scene([], None, {}, int(rng.integers(2**31)))
    while True:
        background = _sample_background(rng)
        flat, ground = background["flat"], np.add(background["a"], background["b"]) / 2
        wanted = int(rng.choice(list(COUNTS), p=list(COUNTS.values()))) if count is None else count
        sign = sample_sign(rng, ground) if rng.random() < (0.7 if wanted == 0 else 0.4 if wanted < 5 else 0.1) else None
        box = sign_box(sign) if sign else None
        stretch = _between(rng, 0.68, 1.45, True) if rng.random() < 0.25 else 1.0
        alike = wanted > 1 and rng.random() < (0.12 if wanted <= SLOTS else 0.35)
        doubles = alike or wanted > SLOTS or rng.random() < 0.1
        things: list[Thing] = []
        for _ in range(80):
            if len(things) == wanted:
                break
            thing = _sample_thing(rng, wanted, ground, flat, stretch)
            # Colours and shapes repeat on purpose now and then, so that counts above one and full names are needed.
            if things and alike:
                thing.shape, thing.colour, thing.rgb = things[0].shape, things[0].colour, things[0].rgb
                thing.line, thing.border, thing.texture = things[0].line, things[0].border, things[0].texture
                if rng.random() < 0.5:
                    thing.radius, thing.size = things[0].radius, things[0].size
            elif things and rng.random() < 0.3:
                thing.shape = things[-1].shape
            elif things and rng.random() < 0.25:
                thing.colour = things[-1].colour
            if thing.shape in ("ring", "circle", ODD):
                thing.line = 0.0
            if thing.shape == ODD and thing.radius <= 8:
                continue
            if not doubles and any(t.shape == thing.shape and t.colour == thing.colour for t in things):
                continue
            if not (things and alike):
                thing.rgb = paint(rng, thing.colour)
                if not (far(thing.rgb, background["a"]) and far(thing.rgb, background["b"])):
                    continue
            wide, tall = 0.97 * thing.radius * thing.stretch, 0.97 * thing.radius / thing.stretch
            if max(wide, tall) > SIZE / 2:
                continue
            for _ in range(4):
                thing.x, thing.y = _between(rng, wide, SIZE - wide), _between(rng, tall, SIZE - tall)
                if _fits(thing, things, box, wanted > SLOTS):
                    things.append(thing)
                    break
        if len(things) == wanted:
            things.sort(key=lambda t: t.x)
            return Scene(things, sign, background)


def _sample_background(rng: np.random.Generator) -> dict:
    if rng.random() < 0.5:
        chance = rng.random()
        colour = ([255.0] * 3 if chance < 0.42 else [0.0] * 3 if chance < 0.56 else [float(rng.uniform(60, 225))] * 3
                  if chance < 0.72 else rng.integers(0, 256, 3).astype(float).tolist())
        return {"flat": True, "kind": "plain", "a": colour, "b": colour, "seed": int(rng.integers(2**31))}
    base = rng.uniform(80, 200)
    return {
        "flat": False,
        "kind": str(rng.choice(["plain", "gradient", "checker", "bands", "cloudy"])),
        "a": (base + rng.uniform(-32, 32, 3)).tolist(),
        "b": (base + rng.uniform(-20, 20) + rng.uniform(-28, 28, 3)).tolist(),
        "period": float(rng.uniform(8, 26)),
        "angle": float(rng.uniform(0, 2 * np.pi)),
        "light": float(rng.uniform(0.86, 1.06)),
        "slope": float(rng.uniform(0, 0.12)),
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
    if kind["kind"] == "plain":
        return np.broadcast_to(np.array(kind["a"], np.float32), (size, size, 3)).copy()
    u = x * np.float32(np.cos(kind["angle"])) + y * np.float32(np.sin(kind["angle"]))
    if kind["kind"] == "gradient":
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
    r, form = thing.radius, thing.form
    if thing.shape == "circle":
        return np.hypot(x, y) - r * 0.95
    if thing.shape == "ring":
        band = r * (0.05 + 0.22 * form) + 0.25
        return np.abs(np.hypot(x, y) - r + band) - band
    if thing.shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - r * 0.88
    if thing.shape == "cross":
        ax, ay, arm = np.abs(x), np.abs(y), r * (0.24 + 0.14 * form)
        return np.minimum(np.maximum(ax - r, ay - arm), np.maximum(ax - arm, ay - r))
    corners = 3 if thing.shape == "triangle" else 5
    sector = 2 * np.pi / corners
    turn = np.arctan2(x, -y)  # zero points up
    turn = np.abs((turn + sector / 2) % sector - sector / 2)
    rho = np.hypot(x, y)
    if thing.shape == "triangle":
        return rho * np.cos(sector / 2 - turn) - r * 0.56
    along, across = rho * np.cos(turn), rho * np.sin(turn)
    outer, inner = r * 1.08, r * (0.4 + 0.12 * form)
    bx, by = inner * np.cos(sector / 2) - outer, inner * np.sin(sector / 2)
    return (by * (along - outer) - bx * across) / np.hypot(bx, by)


def _odd_cover(thing: Thing, x0: int, y0: int, x1: int, y1: int, scale: float) -> np.ndarray:
    fine = 3
    points = odd_outline(thing.phase) * thing.radius
    cos, sin = np.cos(thing.angle), np.sin(thing.angle)
    x, y = points[:, 0] * cos - points[:, 1] * sin, points[:, 0] * sin + points[:, 1] * cos
    x, y = thing.x + x * thing.stretch, thing.y + y / thing.stretch
    mask = Image.new("L", ((x1 - x0) * fine, (y1 - y0) * fine), 0)
    ImageDraw.Draw(mask).polygon(list(zip((x * scale - x0) * fine, (y * scale - y0) * fine)), fill=255)
    return np.asarray(mask.reduce(fine), np.float32) / 255


def _paint_thing(image: np.ndarray, owner: np.ndarray, thing: Thing, number: int) -> None:
    size = image.shape[0]
    scale = size / SIZE
    wide, tall = thing.radius * 1.15 * thing.stretch + 1, thing.radius * 1.15 / thing.stretch + 1
    x0, x1 = max(0, int((thing.x - wide) * scale)), min(size, int((thing.x + wide) * scale) + 1)
    y0, y1 = max(0, int((thing.y - tall) * scale)), min(size, int((thing.y + tall) * scale) + 1)
    ax, ay = _axes(size)
    dx = (ax[:, x0:x1] - np.float32(thing.x)) / np.float32(thing.stretch)
    dy = (ay[y0:y1] - np.float32(thing.y)) * np.float32(thing.stretch)
    cos, sin = np.float32(np.cos(thing.angle)), np.float32(np.sin(thing.angle))
    x, y = dx * cos + dy * sin, dy * cos - dx * sin

    colour = np.array(thing.rgb, np.float32)
    paint = colour
    if thing.texture == "striped":
        turned = x * np.float32(np.cos(3 * thing.phase)) + y * np.float32(np.sin(3 * thing.phase))
        weight = np.clip(np.sin(turned * np.float32(2 * np.pi / 5.2) + 6.28 * thing.phase) * 3 - 0.9, 0, 1)
    elif thing.texture == "dotted":
        step = 5.4
        gx = (x + step * (0.5 + thing.phase)) % step - step / 2
        gy = (y + step * (0.5 + 3 * thing.phase)) % step - step / 2
        weight = np.clip((1.5 - np.hypot(gx, gy)) * scale + 0.5, 0, 1)
    if thing.texture != "plain":
        second = colour * 0.4 if colour.mean() > 150 else colour * 0.3 + 255 * 0.7
        paint = colour + weight[..., None].astype(np.float32) * (second - colour)
    if thing.shape == ODD:
        cover = _odd_cover(thing, x0, y0, x1, y1, scale)
    else:
        distance = _distance(thing, x, y).astype(np.float32)
        if thing.line:
            distance = np.abs(distance + np.float32(thing.line / 2)) - np.float32(thing.line / 2)
        elif thing.border == "rim":
            paint = paint * (1 - 0.4 * np.clip((distance + 1.0) * 1.5, 0, 1))[..., None]
        elif thing.border == "dark":
            line = np.float32(0.5 + 1.2 * thing.phase)
            paint = paint + np.clip((distance + line) * scale + 0.5, 0, 1)[..., None] * (np.float32(20) - paint)
        cover = np.clip(0.5 - distance * scale, 0, 1)
    part = image[y0:y1, x0:x1]
    part += cover[..., None] * (paint - part)
    owner[y0:y1, x0:x1][cover > 0.35] = number


def _paint_sign(image: np.ndarray, owner: np.ndarray, sign: Sign, number: int) -> None:
    size = image.shape[0]
    scale = size / SIZE
    fine = 3 if size <= 2 * SIZE else 1  # letters are drawn larger and averaged, so that hinting does not depend on the size
    left, top, right, bottom = sign_box(sign)
    x0, y0 = max(0, int(left * scale)), max(0, int(top * scale))
    x1, y1 = min(size, int(right * scale) + 1), min(size, int(bottom * scale) + 1)
    across = fine / sign.stretch
    canvas = Image.new("L", (max(1, round((x1 - x0) * across)), (y1 - y0) * fine), 0)
    face = _font(sign.font, max(1, round(sign.height * scale * fine / CAP)))
    place = (sign.x * scale - x0) * across, ((sign.y + sign.height / 2) * scale - y0) * fine
    ImageDraw.Draw(canvas).text(place, sign.shown, 255, face, anchor="ms")
    if canvas.size != (x1 - x0, y1 - y0):
        canvas = canvas.resize((x1 - x0, y1 - y0), Image.Resampling.BOX)
    letters = np.asarray(canvas, np.float32)[..., None] / 255
    part = image[y0:y1, x0:x1]
    if sign.board is not None:
        part[:] = sign.board
    part += letters * (np.array(sign.ink, np.float32) - part)
    owner[y0:y1, x0:x1] = number


SIGN_OWNER = MOST + 1


def render(scene: Scene, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """The picture (uint8, size x size x 3) and, for every pixel, whose it is: 0 background, 1.. objects, SIGN_OWNER."""
    owner = np.zeros((size, size), np.uint8)
    if scene.photo is not None:
        return photograph(scene.photo, size), owner
    kind = scene.background
    image = _background(kind, size)
    if scene.sign:
        _paint_sign(image, owner, scene.sign, SIGN_OWNER)
    for number in sorted(range(len(scene.things)), key=lambda i: scene.things[i].phase):
        _paint_thing(image, owner, scene.things[number], number + 1)
    if not kind["flat"]:
        x, y = _axes(size)
        slope = np.float32(kind["slope"] / SIZE)
        cos, sin = np.float32(np.cos(kind["slope_angle"])), np.float32(np.sin(kind["slope_angle"]))
        image *= (np.float32(kind["light"]) + (x - SIZE / 2) * slope * cos + (y - SIZE / 2) * slope * sin)[..., None]
        grain = np.random.default_rng(kind["seed"] + 1).standard_normal((SIZE, SIZE, 3), np.float32)
        often = max(1, size // SIZE)
        image += grain.repeat(often, 0).repeat(often, 1)[:size, :size] * np.float32(kind["noise"])
    return _as_sent(np.clip(image + 0.5, 0, 255).astype(np.uint8), kind["seed"]), owner


def _as_sent(image: np.ndarray, seed: int) -> np.ndarray:
    """Some pictures as they come from a shrunk one, whose edges are sharpened or blurred, or from a JPEG file."""
    fate = seed % 10
    if fate > 4:
        return image
    picture = Image.fromarray(image)
    if fate < 3:
        picture = picture.filter(ImageFilter.UnsharpMask(1, 30 + 30 * fate, 0))
    elif fate == 3:
        picture = picture.filter(ImageFilter.GaussianBlur(0.3 + (seed // 10 % 5) * 0.08))
    else:
        held = io.BytesIO()
        picture.save(held, "JPEG", quality=50 + seed // 10 % 45)
        picture = Image.open(held)
    return np.asarray(picture)
