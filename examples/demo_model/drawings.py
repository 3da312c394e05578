"""How well a checkpoint folder answers about pictures as somebody makes them in a paint program, none of them trained on.

    python examples/demo_model/drawings.py --model examples/assets/instructblip-demo
    python examples/demo_model/drawings.py --to FOLDER      # the drawings as files, with their questions

The set is fixed: its code draws everything itself, with Pillow and from seeds, and shares nothing with the pictures that
the model is trained on. For every group of drawings a table in Markdown tells what share of the answers is

    right         as defined in this file, beside each question; "I do not know" is right where the truth lies outside
                  of what the model is taught: another shape, another word, a photograph, another kind of question
    not known     "I do not know", although the model is taught what was asked
    wrong         anything else
    wrong, sure   that part of the wrong answers in which the model trusts: p > 0.9

p is the product of the probabilities of all tokens of the greedy answer, with the end token. A description is right if it
names colour and shape of every object and nothing else, in any order, and the sign's text; a size that it names must be
right where it is clear (below 20 % of the side small, above 35 % large), a texture is wrong. Of five objects and more
"six objects" or "five red circles" is enough. An object of unknown shape is "a red object".
"""

from __future__ import annotations

import argparse
import colorsys
import hashlib
import io
import math
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

UNKNOWN = "I do not know"
NOTHING, NO_SIGN = "nothing", "there is no sign"
SHAPES = ["circle", "square", "triangle", "star", "cross", "ring"]
PAINTS = {  # of the palettes of a paint program, of the web's named colours and of a well-known design guide
    "red": [(237, 28, 36), (255, 0, 0), (244, 67, 54)],
    "orange": [(255, 127, 39), (255, 165, 0), (255, 152, 0)],
    "yellow": [(255, 242, 0), (255, 255, 0), (255, 235, 59)],
    "green": [(34, 177, 76), (0, 128, 0), (0, 255, 0), (76, 175, 80)],
    "blue": [(63, 72, 204), (0, 0, 255), (33, 150, 243)],
    "purple": [(163, 73, 164), (128, 0, 128), (156, 39, 176)],
    "pink": [(255, 174, 201), (255, 192, 203), (255, 105, 180)],
    "brown": [(139, 69, 19), (121, 85, 72), (150, 90, 50)],
    "grey": [(127, 127, 127), (128, 128, 128), (158, 158, 158)],
    "white": [(255, 255, 255)],
    "black": [(0, 0, 0)],
}
COLOURS = list(PAINTS)
WORDS = ("open stop exit cafe bank shop taxi bus park zoo hotel pizza milk tea book toys music fish sale help north lunch club "
         "jazz").split()
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six"]
MANY = "many"  # more than six
GROUNDS = {
    "white": (255, 255, 255), "black": (0, 0, 0), "grey": (127, 127, 127), "light grey": (195, 195, 195),
    "sky": (153, 217, 234), "lawn": (181, 230, 29), "sand": (239, 228, 176), "navy": (0, 0, 128),
    "cream": (255, 250, 205), "teal": (0, 128, 128), "lavender": (200, 191, 231), "maroon": (128, 0, 0),
}
PLAIN_GROUNDS = ["white", "black", "grey", "white", "light grey", "white"]
COLOURED_GROUNDS = ["sky", "lawn", "sand", "navy", "cream", "teal", "lavender", "maroon"]
FONT_FOLDER = Path("/usr/share/fonts/truetype")
FONTS = ["dejavu/DejaVuSans.ttf", "liberation/LiberationSans-Bold.ttf", "liberation/LiberationSerif-Bold.ttf",
         "dejavu/DejaVuSans-Bold.ttf", "liberation/LiberationSans-Regular.ttf", "liberation/LiberationMono-Bold.ttf",
         "dejavu/DejaVuSerif-Bold.ttf", "dejavu/DejaVuSansCondensed-Bold.ttf"]


@dataclass
class Thing:
    shape: str  # one of SHAPES, or "object" where the model is taught no name for it
    colour: str
    x: float  # in pixels
    y: float
    r: float  # half of its width
    share: float  # of the picture's side

    @property
    def sizes(self) -> list[str]:
        return ["small"] if self.share < 0.20 else ["large"] if self.share > 0.35 else ["small", "large"]

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass
class Asked:
    text: str
    right: list[str] = field(default_factory=list)
    caption: list[Thing] | None = None  # a description of these is right ...
    sign: str | None = None  # ... with this sign; "?" for one that says what the model is not taught


@dataclass
class Drawing:
    group: str
    picture: Image.Image
    asked: list[Asked]


# What is right


def parse(text: str) -> tuple[list[tuple[int, str, str, str, str]], str | None] | None:
    """The parts of a description (count, size, texture, colour, shape) and the sign's text; None if it is no description."""
    parts, sign = [], None
    if text == NOTHING:
        return parts, sign
    for part in re.split(r", | and (?=an? |two |three |four |five |six |many )", text):
        words = part.split()
        if part.startswith("a sign"):
            if sign is not None:
                return None
            found = re.fullmatch(r"a sign that says (\w+)", part)
            sign = found[1] if found else "?" if part == "a sign that I cannot read" else ""
            continue
        if len(words) < 2 or words[0] not in ("a", "an", *NUMBERS[2:], MANY):
            return None
        count = 1 if words[0] in ("a", "an") else 7 if words[0] == MANY else NUMBERS.index(words[0])
        noun = words[-1].removesuffix("s") if count > 1 else words[-1]
        noun = "cross" if noun in ("crosse", "cros") else noun
        if noun not in (*SHAPES, "object"):
            return None
        described = {"size": "", "texture": "", "colour": ""}
        for word in words[1:-1]:
            kind = ("size" if word in ("small", "large") else "texture" if word in ("plain", "striped", "dotted")
                    else "colour" if word in COLOURS else None)
            if kind is None or described[kind]:
                return None
            described[kind] = word
        parts.append((count, described["size"], described["texture"], described["colour"], noun))
    return parts, sign


def fits(part, thing: Thing, brief: bool) -> bool:
    _, size, texture, colour, noun = part
    if texture in ("striped", "dotted") or size and size not in thing.sizes or colour and colour != thing.colour:
        return False
    return noun == thing.shape or noun == "object" and brief if brief else noun == thing.shape and colour == thing.colour


def describes(text: str, things: list[Thing], sign: str | None) -> bool:
    found = parse(text)
    if found is None or found[1] != sign:
        return False
    brief = len(things) > 4
    expanded = [part for part in found[0] for _ in range(len(things) if part[0] == 7 and brief else part[0])]
    if len(expanded) != len(things) or (brief and len(things) <= 6 and any(part[0] == 7 for part in found[0])):
        return False

    def match(left, free):
        if not left:
            return True
        return any(fits(left[0], thing, brief) and match(left[1:], free[:i] + free[i + 1 :]) for i, thing in enumerate(free))

    return match(sorted(expanded, key=lambda part: not part[3]), things)


def is_right(asked: Asked, answer: str) -> bool:
    return answer in asked.right or asked.caption is not None and describes(answer, asked.caption, asked.sign)


# Drawing


def corners(x, y, r, radii, turn=0.0):
    count = len(radii)
    return [(x + r * q * math.sin(turn + 2 * math.pi * i / count), y - r * q * math.cos(turn + 2 * math.pi * i / count))
            for i, q in enumerate(radii)]


def draw_shape(draw, shape, x, y, r, paint, ground, line: int = 0, stretch: float = 1.0):
    """Filled, or with `line` pixels of outline only. `stretch` widens it against its height."""
    w, h = r * stretch, r

    def polygon(points):
        points = [(x + (px - x) * stretch, py) for px, py in points]
        if line:
            draw.line([*points, points[0], points[1]], fill=paint, width=line, joint="curve")
        else:
            draw.polygon(points, fill=paint)

    box = (x - w, y - h, x + w, y + h)
    if shape == "circle":
        draw.ellipse(box, fill=paint)
    elif shape == "ring" and line:
        draw.ellipse(box, outline=paint, width=line)
    elif shape == "ring":
        draw.ellipse(box, fill=paint)
        draw.ellipse((x - 0.55 * w, y - 0.55 * h, x + 0.55 * w, y + 0.55 * h), fill=ground)
    elif shape == "square":
        polygon([(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)])
    elif shape == "triangle":
        polygon([(x, y - r), (x + r, y + r * 0.85), (x - r, y + r * 0.85)])
    elif shape == "star":
        polygon(corners(x, y, r * 1.05, (1, 0.42) * 5))
    elif shape == "cross":
        a, b = r, r / 3
        polygon([(x - b, y - a), (x + b, y - a), (x + b, y - b), (x + a, y - b), (x + a, y + b), (x + b, y + b), (x + b, y + a),
                 (x - b, y + a), (x - b, y + b), (x - a, y + b), (x - a, y - b), (x - b, y - b)])


def heart(x, y, r):
    turns = [2 * math.pi * i / 60 for i in range(60)]
    return [(x + r * math.sin(t) ** 3, y - r * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t)
                                                - math.cos(4 * t)) / 16) for t in turns]


def crescent(x, y, r):
    outer = [(x + r * math.cos(t), y + r * math.sin(t)) for t in np.linspace(0.6, 2 * math.pi - 0.6, 40)]
    return outer + [(x + r * (0.45 + 0.62 * math.cos(t)), y + 0.72 * r * math.sin(t)) for t in np.linspace(5.3, 1.0, 40)]


def lightning(x, y, r):
    return [(x + r * a, y + r * b) for a, b in ((0.2, -1), (-0.6, 0.15), (-0.05, 0.15), (-0.3, 1), (0.6, -0.25), (0.05, -0.25))]


def arrow(x, y, r):
    return [(x + r * a, y + r * b) for a, b in ((-1, -0.25), (0.2, -0.25), (0.2, -0.7), (1, 0), (0.2, 0.7), (0.2, 0.25),
                                                (-1, 0.25))]


def hexagon(x, y, r):
    return corners(x, y, r, (1,) * 6)


def drop(x, y, r):
    return [(x, y - r)] + [(x + 0.7 * r * math.sin(t), y + 0.3 * r - 0.7 * r * math.cos(t)) for t in np.linspace(0.7, 5.58, 40)]


def half_moon(x, y, r):
    return [(x + r * math.cos(t), y + 0.4 * r - r * math.sin(t)) for t in np.linspace(0, math.pi, 40)]


def letter_l(x, y, r):
    return [(x + r * a, y + r * b) for a, b in ((-0.7, -1), (-0.2, -1), (-0.2, 0.5), (0.7, 0.5), (0.7, 1), (-0.7, 1))]


ODD_SHAPES = {"heart": heart, "moon": crescent, "lightning bolt": lightning, "arrow": arrow, "hexagon": hexagon, "drop": drop,
              "half moon": half_moon, "letter": letter_l}


def far(a, b) -> bool:
    return math.dist(a, b) > 110


def paint_for(rng, ground, colour=None, taken=()):
    """A colour's name and one of its values, well apart from the ground."""
    while True:
        name = colour or rng.choice([c for c in COLOURS if c not in taken])
        values = [value for value in PAINTS[name] if far(value, ground)]
        if values:
            return name, rng.choice(values)
        colour = None


def place(rng, count, width, height, shares, gap=0.03, tries=4000):
    """Centres and radii in pixels of things apart from each other; `shares` of the smaller side across."""
    side = min(width, height)
    for _ in range(tries):
        spots = []
        for share in sorted(shares, reverse=True):
            for _ in range(60):
                r = share * side / 2
                x, y = rng.uniform(r, width - r), rng.uniform(r, height - r)
                if all(math.hypot(x - a, y - b) > 1.25 * (r + c) + gap * side for a, b, c, _ in spots):
                    spots.append((x, y, r, share))
                    break
            else:
                break
        if len(spots) == count:
            return spots
    raise ValueError("no room")


def a(name: str) -> str:
    return ("an " if name[0] in "aeiou" else "a ") + name


def absent(rng, things) -> str:
    while True:
        colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
        if all((t.colour, t.shape) != (colour, shape) for t in things):
            return f"{colour} {shape}"


def plural(shape: str) -> str:
    return shape + ("es" if shape == "cross" else "s")


def count_word(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else MANY


DESCRIBE = ["describe the image", "what is in the picture?", "what do you see?", "describe the picture",
            "what does the image show?"]


def questions_about(rng, things: list[Thing], width: int, height: int, many: int) -> list[Asked]:
    """`many` questions of different kinds, a description first."""
    made = [Asked(rng.choice(DESCRIBE), caption=things)]
    names = Counter(thing.name for thing in things)
    shapes, colours = Counter(t.shape for t in things), Counter(t.colour for t in things)
    thing = rng.choice(things)
    others = []
    if shapes[thing.shape] == 1:
        others.append(Asked(f"what colour is the {thing.shape}?", [thing.colour]))
    if colours[thing.colour] == 1:
        others.append(Asked(f"what shape is the {thing.colour} object?", [thing.shape]))
    others.append(Asked("how many objects are there?", [count_word(len(things))]))
    if len(things) > 1:
        others.append(Asked(f"how many {plural(thing.shape)} are there?", [count_word(shapes[thing.shape])]))
        others.append(Asked(f"how many {thing.colour} objects do you see?", [count_word(colours[thing.colour])]))
    others.append(Asked(f"is there {a(thing.name)}?", ["yes"]))
    others.append(Asked(f"can you see {a(absent(rng, things))}?", ["no"]))
    if names[thing.name] == 1 and len(thing.sizes) == 1:
        others.append(Asked(f"is the {thing.name} small or large?", thing.sizes))
    for axis, extent, low, high in ((0, width, "leftmost", "rightmost"), (1, height, "topmost", "bottommost")):
        order = sorted(things, key=lambda t: (t.x, t.y)[axis])
        place = lambda t: (t.x, t.y)[axis]
        if len(order) > 1 and place(order[1]) - place(order[0]) > 0.08 * extent:
            others.append(Asked(f"what is the {low} object?", [f"the {order[0].name}"]))
        if len(order) > 1 and place(order[-1]) - place(order[-2]) > 0.08 * extent:
            others.append(Asked(f"what is the {high} object?", [f"the {order[-1].name}"]))
    sure = [(big, small) for big in things for small in things
            if big.share > 1.6 * small.share and names[big.name] == names[small.name] == 1]
    if sure:
        big, small = rng.choice(sure)
        first, second = rng.sample([big.name, small.name], 2)
        word, thing = rng.choice([("larger", big), ("smaller", small)])
        others.append(Asked(f"which is {word}, the {first} or the {second}?", [f"the {thing.name}"]))
    rng.shuffle(others)
    return made + others[: many - 1]


def as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    held = io.BytesIO()
    picture.convert("RGB").save(held, "JPEG", quality=quality)
    return Image.open(held).convert("RGB")


def things_drawing(rng, group, width, height, ground, shares, questions, line=0.0, colour=None, shape=None, alike=False,
                   finish=lambda picture, ground: picture, stretch=1.0) -> Drawing:
    picture = Image.new("RGB", (width, height), GROUNDS.get(ground, ground))
    draw = ImageDraw.Draw(picture)
    side, things = min(width, height), []
    ground = GROUNDS.get(ground, ground)
    same = paint_for(rng, ground, colour)
    same_shape = shape or rng.choice(SHAPES)
    shares = [max(share, 0.08 * width / side) for share in shares]
    for x, y, r, share in place(rng, len(shares), width / stretch, height, shares):
        x *= stretch
        name, paint = same if alike or not things else paint_for(rng, ground)
        kind = same_shape if alike or not things else rng.choice(SHAPES)
        if line and kind == "circle":
            kind = "ring"
        draw_shape(draw, kind, x, y, r, paint, ground, max(2, round(line * side)) if line else 0, stretch)
        # What counts is the size that is left when the picture has been made square.
        things.append(Thing(kind, name, x, y, r, share * side / math.sqrt(width * height) * math.sqrt(stretch)))
    asked = questions_about(rng, things, width, height, questions)
    return Drawing(group, finish(picture, ground), asked)


def transparent(hidden):
    """The ground becomes transparent; `hidden` is the colour that the file still holds there."""

    def finish(picture, ground):
        values = np.array(picture.convert("RGBA"))
        clear = (values[..., :3] == ground).all(-1)
        values[clear] = (*hidden, 0)
        return Image.fromarray(values)

    return finish


def text_drawing(rng, group, text, ground, ink, font, share, x, y, board=None, width=640, height=480, thing=None) -> Drawing:
    """`text`'s capitals are `share` of the height high; x and y say where its middle lies, in shares of the room for it."""
    picture = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(picture)
    face = lambda pixels: ImageFont.truetype(str(FONT_FOLDER / font), pixels)
    pixels = share * height / 0.72
    left, top, right, bottom = draw.textbbox((0, 0), text, face(100))
    pixels = min(pixels, 100 * 0.84 * width / (right - left))
    left, top, right, bottom = draw.textbbox((0, 0), text, face(round(pixels)))
    w, h = right - left, bottom - top
    border = 0.35 * h
    room = (height * (0.5 if thing else 1.0))
    cx = w / 2 + border + 4 + x * max(0, width - w - 2 * border - 8)
    cy = h / 2 + border + 4 + y * max(0, room - h - 2 * border - 8)
    if board:
        draw.rectangle((cx - w / 2 - border, cy - h / 2 - border, cx + w / 2 + border, cy + h / 2 + border), fill=board)
    draw.text((cx - w / 2 - left, cy - h / 2 - top), text, ink, face(round(pixels)))
    things = []
    if thing:
        name, shape = thing
        r = rng.uniform(0.12, 0.2) * height
        spot = rng.uniform(r + 5, width - r - 5), height * 0.75
        draw_shape(draw, shape, *spot, r, rng.choice([v for v in PAINTS[name] if far(v, ground)]), ground)
        things.append(Thing(shape, name, *spot, r, 2 * r / math.sqrt(width * height)))
    known = text.lower() in WORDS or text.isdigit() and int(text) < 100
    read = rng.choice(["what does the sign say?", "what is written on the sign?"] if board else
                      ["what does the text say?", "what does the sign say?", "what is written in the picture?"])
    says = text.lower() if known else "?"
    described = Asked(rng.choice(DESCRIBE), [] if known or things else [UNKNOWN], caption=things, sign=says)
    asked = [Asked(read, [f"it says {says}" if known else UNKNOWN]), described,
             Asked("how many objects are there?", [NUMBERS[len(things)]]),
             Asked(f"is there {a(absent(rng, things))}?", ["no"])]
    return Drawing(group, picture, asked)


def odd_drawing(rng, noun, ground, colour) -> Drawing:
    width, height = 640, 480
    picture = Image.new("RGB", (width, height), GROUNDS[ground])
    draw = ImageDraw.Draw(picture)
    name, paint = paint_for(rng, GROUNDS[ground], colour)
    share = rng.uniform(0.35, 0.8)
    r = share * height / 2
    x, y = rng.uniform(r, width - r), rng.uniform(r, height - r)
    draw.polygon(ODD_SHAPES[noun](x, y, r), fill=paint)
    thing = Thing("object", name, x, y, r, 0.27)
    asked = [Asked(rng.choice(DESCRIBE), [UNKNOWN], caption=[thing]), Asked(f"what shape is the {name} object?", [UNKNOWN]),
             Asked("what colour is the object?", [name]), Asked("how many objects are there?", ["one"]),
             Asked(f"is there {a(noun)}?", [UNKNOWN])]
    return Drawing("unknown shapes", picture, asked)


def smiley():
    picture = Image.new("RGB", (400, 400), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((60, 60, 340, 340), fill=(255, 242, 0), outline="black", width=6)
    for x in (150, 250):
        draw.ellipse((x - 16, 140, x + 16, 180), fill="black")
    draw.arc((120, 140, 280, 280), 20, 160, "black", 8)
    return picture, "face"


def house():
    picture = Image.new("RGB", (640, 480), (153, 217, 234))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 380, 640, 480), fill=(34, 177, 76))
    draw.rectangle((200, 220, 440, 400), fill=(239, 228, 176))
    draw.polygon([(170, 220), (320, 100), (470, 220)], fill=(136, 0, 21))
    draw.rectangle((295, 300, 345, 400), fill=(185, 122, 87))
    return picture, "house"


def stick_figure():
    picture = Image.new("RGB", (480, 640), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((180, 60, 300, 180), outline="black", width=8)
    for line in ((240, 180, 240, 400), (240, 240, 120, 320), (240, 240, 360, 320), (240, 400, 150, 580), (240, 400, 330, 580)):
        draw.line(line, "black", 8)
    return picture, "person"


def tree():
    picture = Image.new("RGB", (500, 500), (153, 217, 234))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((220, 280, 280, 470), fill=(121, 85, 72))
    for x, y in ((180, 200), (250, 140), (320, 200), (250, 230)):
        draw.ellipse((x - 90, y - 80, x + 90, y + 80), fill=(34, 177, 76))
    return picture, "tree"


def photographs():
    """Pictures with the smooth many-coloured structure of photographs."""
    size = (480, 640)
    rng = np.random.default_rng(2024)
    v, u = np.mgrid[0:1:480j, 0:1:640j]
    made = []

    def mix(weight, first, second):
        return weight[..., None] * np.array(second, float) + (1 - weight[..., None]) * np.array(first, float)

    evening = mix(v, (70, 90, 160), (250, 160, 80))
    evening += 160 * np.exp(-((u - 0.6) ** 2 + (v - 0.65) ** 2) / 0.02)[..., None] * np.array((1, 0.8, 0.4))
    evening[v > 0.7 + 0.05 * np.sin(9 * u) + 0.03 * np.sin(23 * u)] = (35, 40, 30)
    made.append(evening)
    meadow = mix(np.clip(v * 2, 0, 1), (90, 150, 230), (220, 235, 250))
    grass = mix(np.clip(v * 2 - 1, 0, 1), (110, 150, 60), (40, 90, 30))
    below = v > 0.48 + 0.06 * np.sin(5 * u)
    meadow[below] = (grass + rng.normal(0, 25, (*size, 1)))[below]
    made.append(meadow)
    spots = np.full((*size, 3), 60.0)
    for _ in range(40):
        x, y, s = *rng.random(2), rng.uniform(0.03, 0.12)
        hue = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.5, 1))) * 255
        weight = np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * s * s))[..., None]
        spots = spots * (1 - weight) + hue * weight
    made.append(spots)
    portrait = mix(u, (120, 130, 140), (60, 70, 90))
    face = np.clip(1.4 - 5 * np.hypot((u - 0.5) * 1.6, v - 0.45), 0, 1)
    hair = np.clip(1.4 - 4.2 * np.hypot((u - 0.5) * 1.5, v - 0.38), 0, 1)
    body = np.clip(1.4 - 3 * np.hypot((u - 0.5) * 0.9, v - 1.1), 0, 1)
    for weight, colour in ((hair, (60, 40, 30)), (body, (50, 70, 120)), (face, (224, 172, 145))):
        portrait = portrait * (1 - weight[..., None]) + np.array(colour) * weight[..., None]
    made.append(portrait)
    waves = sum(np.sin(rng.uniform(4, 40) * u + rng.uniform(4, 40) * v + rng.uniform(0, 6)) for _ in range(14)) / 8
    made.append(mix(np.clip(waves + 0.5, 0, 1), (10, 50, 90), (150, 210, 220)))
    street = mix(v, (200, 210, 220), (110, 110, 110))
    for _ in range(26):
        x0, y0 = rng.integers(0, 560), rng.integers(0, 380)
        w, h = rng.integers(40, 160), rng.integers(40, 260)
        street[y0 : y0 + h, x0 : x0 + w] = rng.uniform(40, 210, 3) * (0.7 + 0.6 * v[y0 : y0 + h, x0 : x0 + w, None])
    made.append(street)
    leaves = np.zeros((*size, 3))
    points, tints = rng.random((90, 2)), rng.uniform((30, 70, 10), (150, 190, 90), (90, 3))
    distance = ((u[..., None] - points[:, 0]) ** 2 + (v[..., None] - points[:, 1]) ** 2)
    border = np.sort(distance, -1)[..., 1:2] - distance.min(-1)[..., None]
    leaves[:] = tints[distance.argmin(-1)] * (0.5 + 4 * np.sqrt(border))
    made.append(leaves)
    spectrum = 1 / (np.hypot(np.fft.fftfreq(480)[:, None] * 480, np.fft.fftfreq(640)[None] * 640) + 1) ** 1.6
    clouds = np.stack([np.fft.ifft2(np.fft.fft2(rng.normal(size=size)) * spectrum).real for _ in range(3)], -1)
    clouds = (clouds - clouds.mean((0, 1))) / clouds.std((0, 1))
    made.append(np.array((150, 130, 110)) + 45 * clouds @ np.array([[1, 1, 1], [0.6, 0, -0.6], [0.2, -0.3, 0.2]]))
    for number, values in enumerate(made):
        values = np.clip(values + rng.normal(0, 5, (*size, 3)), 0, 255).astype(np.uint8)
        yield as_jpeg(Image.fromarray(values).filter(ImageFilter.GaussianBlur((3, 1, 0, 2, 0, 2, 1, 0)[number])), 85)


OTHER_QUESTIONS = [
    "what is the capital of France?", "who painted this?", "what time is it?", "is it raining?", "how old are you?",
    "where is the dog?", "is there a cat?", "how many people are there?", "what is the weather like?", "what brand is the car?",
    "why is the sky blue?", "write a poem about the sea", "what is two plus two?", "who is the president?",
    "is the woman smiling?", "how many elephants do you see?", "translate this into German", "what colour is the elephant?",
    "is there a dragon in the image?", "what is the man wearing?",
]


def all_drawings() -> list[Drawing]:
    """The whole set, always the same."""
    made: list[Drawing] = []
    rng = random.Random("drawings of 2024")
    canvases = [(500, 500), (640, 480), (800, 600), (400, 400)]
    widths = [0.085, 0.10, 0.12, 0.15, 0.18, 0.24, 0.32, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    for number in range(33):  # every shape and colour, every size
        ground = PLAIN_GROUNDS[number % 6] if number % 3 else COLOURED_GROUNDS[number // 3 % 8]
        share = widths[number * 5 % len(widths)] * rng.uniform(0.97, 1.03)
        made.append(things_drawing(rng, "one thing", *canvases[number % 4], ground, [min(share, 0.92)], 5,
                                   colour=COLOURS[number % 11], shape=SHAPES[number % 6]))
    for number in range(27):
        ground = PLAIN_GROUNDS[number % 6] if number % 3 else COLOURED_GROUNDS[number // 3 % 8]
        count = 2 + number % 3
        top = {2: 0.45, 3: 0.35, 4: 0.28}[count]
        shares = [math.exp(rng.uniform(math.log(0.09), math.log(top))) for _ in range(count)]
        made.append(things_drawing(rng, "two to four things", *canvases[number % 4], ground, shares, 5,
                                   colour=COLOURS[number * 3 % 11]))
    for number in range(12):
        count, alike = [5, 6, 5, 8, 6, 5, 10, 5, 6, 7, 5, 6][number], number % 3 == 0
        share = rng.uniform(0.1, 0.17)
        shares = [share * (1 if alike else rng.uniform(0.85, 1.15)) for _ in range(count)]
        made.append(things_drawing(rng, "five and more", *canvases[number % 4], PLAIN_GROUNDS[number % 6], shares, 4,
                                   alike=alike))
    for ground in ("white", "black", "grey", "sky", "lawn", "cream", "navy", "maroon"):
        picture = Image.new("RGB", rng.choice(canvases), GROUNDS[ground])
        made.append(Drawing("nothing", picture, [
            Asked(rng.choice(DESCRIBE), [NOTHING]), Asked("how many objects are there?", ["zero"]),
            Asked(f"is there {a(absent(rng, []))}?", ["no"]), Asked("what does the sign say?", [NO_SIGN])]))
    for number in range(12):
        share = [0.3, 0.5, 0.8, 0.2, 0.65, 0.4][number % 6]
        shares = [share] if number < 9 else [0.3, 0.25]
        made.append(things_drawing(rng, "outlines", *canvases[number % 4], ["white", "black", "cream"][number % 3], shares, 4,
                                   line=[0.012, 0.02, 0.03][number // 2 % 3],
                                   shape=["ring", "square", "triangle", "star", "ring", "cross"][number % 6]))
    shapes = [(600, 300), (300, 600), (1600, 900), (480, 800), (4000, 3000), (3000, 4000), (4000, 3000), (900, 500)]
    for number, (width, height) in enumerate(shapes):
        shares = [[0.4], [0.3, 0.5], [0.2, 0.35, 0.3], [0.6]][number % 4]
        finish = (lambda picture, _ground: as_jpeg(picture, 88)) if width * height > 10_000_000 else lambda p, _ground: p
        made.append(things_drawing(rng, "stretched and large", width, height, ["white", "sky", "grey", "black"][number % 4],
                                   shares, 4, finish=finish))
    for number in range(4):  # ellipses and oblongs: circles and squares, once the picture is square
        made.append(things_drawing(rng, "stretched and large", 500, 500, ["white", "navy"][number % 2], [0.3 + 0.1 * number],
                                   4, shape=SHAPES[number], stretch=[1.4, 0.7, 1.3, 0.75][number]))
    for number in range(8):
        quality = [90, 75, 50, 30][number % 4]
        shares = [[0.2], [0.3, 0.2]][number % 2]
        made.append(things_drawing(rng, "JPEG", *canvases[number % 4], PLAIN_GROUNDS[number % 6], shares, 4,
                                   finish=lambda picture, _ground, quality=quality: as_jpeg(picture, quality)))
    for number in range(8):
        ground, hidden = [("black", (0, 0, 0)), ("white", (255, 255, 255))][number % 2]
        made.append(things_drawing(rng, "transparent PNG", *canvases[number % 4], ground, [[0.4], [0.25, 0.35]][number // 2 % 2],
                                   4, finish=transparent(hidden)))
    boards = [((246, 244, 236), (20, 20, 24)), ((0, 0, 0), (255, 255, 255)), ((237, 28, 36), (255, 255, 255)),
              ((255, 242, 0), (0, 0, 0)), ((34, 120, 60), (255, 255, 255)), ((63, 72, 204), (255, 255, 255))]
    inks = [((255, 255, 255), (0, 0, 0)), ((255, 255, 255), (237, 28, 36)), ((0, 0, 0), (255, 255, 255)),
            ((255, 250, 205), (0, 0, 128)), ((127, 127, 127), (255, 255, 255)), ((255, 255, 255), (0, 128, 0))]
    texts = [*WORDS[::2], "7", "42", "60", "18", "3", "95"]
    for number in range(28):
        text = [*texts, *WORDS[1::2]][number].upper()
        text = text.lower() if number % 6 == 5 else text
        board, ink = boards[number % 6]
        ground = [(255, 255, 255), (181, 230, 29), (153, 217, 234), (127, 127, 127)][number % 4]
        if number % 2:
            board, (ground, ink) = None, inks[number // 2 % 6]
        thing = (rng.choice(["red", "blue", "yellow", "purple"]), rng.choice(SHAPES)) if number % 4 >= 2 else None
        if thing and not any(far(v, ground) for v in PAINTS[thing[0]]):
            thing = ("orange", "circle")
        made.append(text_drawing(rng, "signs" if board else "plain text", text, ground, ink, FONTS[number % 8],
                                 [0.11, 0.15, 0.2, 0.3][number // 2 % 4], rng.random(), rng.random(), board, thing=thing))
    for number, text in enumerate(["HELLO", "ZEBRA", "WELCOME", "2024", "LOVE", "PRESS", "Danger", "365"]):
        board, ink = boards[number % 6]
        ground = (255, 255, 255)
        if number % 2:
            board, ink = None, inks[number // 2 % 2][1]
        made.append(text_drawing(rng, "unknown words", text, ground, ink, FONTS[number % 8], [0.15, 0.22][number % 2],
                                 rng.random(), rng.random(), board))
    for number, noun in enumerate(ODD_SHAPES):
        made.append(odd_drawing(rng, noun, ["white", "black", "sky", "white"][number % 4],
                                ["red", "yellow", "orange", "blue", "green", "purple", "brown", "pink"][number]))
    for picture, noun in (smiley(), house(), stick_figure(), tree()):
        made.append(Drawing("unknown shapes", picture, [Asked(f"is there {a(noun)}?", [UNKNOWN]),
                                                        Asked(f"how many {noun}s are there?", [UNKNOWN]),
                                                        Asked(f"what colour is the {noun}?", [UNKNOWN])]))
    for picture in photographs():
        made.append(Drawing("like photographs", picture, [
            Asked(rng.choice(DESCRIBE), [UNKNOWN]), Asked("how many objects are there?", [UNKNOWN]),
            Asked("what is the leftmost object?", [UNKNOWN]), Asked("what shape is the object?", [UNKNOWN])]))
    for number in range(10):
        drawing = things_drawing(rng, "other questions", *canvases[number % 4], PLAIN_GROUNDS[number % 6],
                                 [[0.3], [0.2, 0.3]][number % 2], 1)
        drawing.asked = [Asked(text, [UNKNOWN]) for text in OTHER_QUESTIONS[2 * number : 2 * number + 2]]
        made.append(drawing)
    return made


def digest(drawings: list[Drawing]) -> str:
    """Of the questions and what is right: the same as long as the set is."""
    told = [(d.group, d.picture.size, [(q.text, q.right, q.sign, [t.name for t in q.caption or []]) for q in d.asked])
            for d in drawings]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


def measure(folder: Path, drawings: list[Drawing], wrong: int) -> None:
    import torch

    from evaluate import answer_with_probability, load

    torch.set_num_threads(1)
    processor, model = load(folder)
    rows = [(drawing, asked) for drawing in drawings for asked in drawing.asked]
    given = answer_with_probability(processor, model, [d.picture for d, _ in rows], [q.text for _, q in rows])
    results = []
    for (drawing, asked), (text, p) in zip(rows, given):
        kind = "right" if is_right(asked, text) else "not known" if text == UNKNOWN else "wrong"
        results.append((drawing.group, kind, p, asked.caption is not None))

    def show(name, part):
        kinds = Counter(kind for _, kind, _, _ in part)
        sure = sum(kind == "wrong" and p > 0.9 for _, kind, p, _ in part)
        shares = [f"{100 * n / len(part):.1f} %" for n in (kinds["right"], kinds["not known"], kinds["wrong"], sure)]
        print(f"| {name} | {len(part)} | " + " | ".join(shares) + " |")

    print("| drawings | questions | right | not known | wrong | wrong, sure |\n| --- | --- | --- | --- | --- | --- |")
    show("all", results)
    for group in dict.fromkeys(d.group for d in drawings):
        show(group, [row for row in results if row[0] == group])
    show("descriptions, of all groups", [row for row in results if row[3]])
    shown = 0
    for (drawing, asked), (text, p), (_, kind, _, _) in zip(rows, given, results):
        if kind != "right" and shown < wrong:
            wanted = asked.right or [", ".join(t.name for t in asked.caption) + (f", sign {asked.sign}" if asked.sign else "")]
            print(f"\n{drawing.group}: {asked.text}\n  wanted: {' / '.join(wanted)}\n  got:    {text}  (p = {p:.3f})")
            shown += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--to", type=Path, help="write the drawings there, and questions.txt")
    parser.add_argument("--wrong", type=int, default=0, help="show so many answers that are not right")
    arguments = parser.parse_args()
    drawings = all_drawings()
    print(f"{len(drawings)} drawings, {sum(len(d.asked) for d in drawings)} questions, digest {digest(drawings)}\n")
    if arguments.to:
        arguments.to.mkdir(parents=True, exist_ok=True)
        lines = []
        for number, drawing in enumerate(drawings):
            name = f"{number:03d}.png"
            drawing.picture.save(arguments.to / name)
            lines.append(f"{name} ({drawing.group})")
            for q in drawing.asked:
                wanted = q.right + ([", ".join(t.name for t in q.caption) + (f", sign {q.sign}" if q.sign else "")]
                                    if q.caption is not None else [])
                lines.append(f"    {q.text}  ->  {' / '.join(wanted)}")
        (arguments.to / "questions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if arguments.model:
        measure(arguments.model, drawings, arguments.wrong)


if __name__ == "__main__":
    main()
