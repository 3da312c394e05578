"""What the demo model is not taught, so that it learns to say so: shapes, texts, pictures and questions of other kinds."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image

SIZE = 80

# Words of ordinary English for texts and for questions about things that have no place in the model's world.
NOUNS = (
    "actor airport angle ant apple arm artist baby bag ball banana baseball basket bat beach bean bear beard bed bee bell "
    "belt bench bicycle bird biscuit blanket boat body bone boot bottle bowl box boy branch bread brick bridge broom brush "
    "bucket building bull butterfly button cabin cable cake camel camera candle candy cap carpet carrot castle ceiling "
    "chain chair cheese cherry chicken child church clock cloud clown coat coffee coin computer cookie cottage couch cow "
    "cowboy crab crayon crowd crown cup curtain desert desk diamond dinner dinosaur doctor doll dolphin donkey door dress "
    "drum duck eagle ear egg engine eye fan farmer feather fence finger fire flag floor flower fly foot forest fork "
    "fountain fox frog fruit garden gate ghost giraffe girl glass glove goat grape grass guitar hair hammer hand hat "
    "helicopter helmet hen hill horse hospital ice insect island jacket jar jellyfish key kangaroo keyboard king kitchen "
    "kite knee knife ladder lake lamp laptop leaf lemon leopard letter lighthouse lion lizard logo machine map mask meadow "
    "melon mirror monkey moose mosquito motorcycle mountain mouse mouth mushroom nail neck needle nest net newspaper nose "
    "nurse nut ocean octopus onion oval owl pan panda panther paper parrot pen pencil penguin phone piano pig pigeon pillow "
    "pilot pipe planet plane plant plate player pocket pond potato prince queen rabbit radio rainbow rat rhino ribbon river "
    "road robot rocket roof room rope rose sailor sandwich scissors screen seal shark sheep shelf shell ship shirt shoe "
    "shower skirt snail snake snow soap sofa soldier spider spoon squirrel stairs statue stone storm street sun swan table "
    "tail teacher telephone television tent tiger tie toilet tomato tower toy tractor traffic train truck trumpet turtle "
    "umbrella vase vegetable village violin wall wallet watch water whale wheel window wing winter wizard wolf worm zebra"
).split()
MORE_WORDS = (
    "hi yes no go on off up the and you love home hello world happy birthday merry welcome danger slow wait push pull "
    "please thanks free new best big hot cold left right up down front back start end school office police fire water gas "
    "food drink bar pub inn city town west east south street road gate closed enter private beware caution ladies gents "
    "menu price sold out today monday sunday summer winter spring python linux apple google house car dog cat tree star "
    "moon peace power super mega art gym spa lab"
).split()

OTHER_QUESTIONS = [
    "what is left of the {x}?", "what is to the right of the {x}?", "what is above the {x}?", "what is under the {x}?",
    "who is this?", "who are you?", "what is your name?", "who is the {n}?", "what is the {n} doing?", "where is the {n}?",
    "where was this taken?", "when was this taken?", "why is the {n} here?", "why is it so?", "how did the {n} get there?",
    "what is the name of the {n}?", "how much does the {n} cost?", "how far is the {n}?", "how tall is the {n}?",
    "what season is it?", "what day is it?", "is it day or night?", "is it cold outside?", "does the {n} look happy?",
    "is the {n} open?", "is the {n} asleep?", "what is the {n} made of?", "what is the {n} holding?", "tell me a joke",
    "tell me a story about a {n}", "write a song", "write code for a {n}", "what is the meaning of life?",
    "can you help me?", "hello", "thank you", "what is one plus one?", "what is seven times eight?", "how do i cook a {n}?",
    "which country is this?", "what is the capital of {n}?", "which language is this?", "translate the text",
    "summarise the text", "is this a photo?", "is this picture real?", "what kind of {n} is this?",
    "what breed is the {n}?", "what mood does the picture have?", "how many legs does the {n} have?",
    "what will happen next?", "what happened before?", "is anybody there?", "do you like it?", "what sport is this?",
    "which team won?", "what is the best {n}?", "explain the picture in detail", "how heavy is the {n}?",
]
NOUN_QUESTIONS = [
    "is there a {n}?", "can you see a {n}?", "is there a {n} in the image?", "does the picture show a {n}?",
    "is there a {c} {n}?", "how many {n}s are there?", "how many {n}s do you see?", "how many {c} {n}s are in the image?",
    "count the {n}s", "what colour is the {n}?", "what is the color of the {n}?", "what size is the {n}?",
    "is the {n} large or small?", "what shape is the {n}?", "which is larger, the {n} or the {x}?",
]


def odd_text(rng: np.random.Generator, known: list[str]) -> str:
    """A text that is neither one of the known words nor a number below 100."""
    while True:
        chance = rng.random()
        if chance < 0.5:
            words = NOUNS if rng.random() < 0.5 else MORE_WORDS
            text = words[rng.integers(len(words))]
        elif chance < 0.72:
            text = "".join("abcdefghijklmnopqrstuvwxyz"[i] for i in rng.integers(0, 26, rng.integers(2, 7)))
        elif chance < 0.86:
            text = known[rng.integers(len(known))]
            place = int(rng.integers(len(text)))
            text = text[:place] + "abcdefghilmnoprstu"[rng.integers(18)] + text[place + 1 :] + "ersy"[rng.integers(4)]
        else:
            text = str(rng.integers(100, 10000))
        if text not in known and len(text) <= 8:
            return text


def odd_noun(rng: np.random.Generator) -> str:
    noun = NOUNS[rng.integers(len(NOUNS))]
    if rng.random() < 0.15:  # no list of words is long enough
        noun = "".join(["b d f g k l m n p r s t v z ch sh st tr".split()[rng.integers(18)] + "aeiou"[rng.integers(5)]
                        for _ in range(rng.integers(1, 4))]) + "nrtlk"[rng.integers(5)]
    return noun


def odd_question(rng: np.random.Generator, colours: list[str], shapes: list[str]) -> str:
    texts = NOUN_QUESTIONS if rng.random() < 0.5 else OTHER_QUESTIONS
    text = texts[rng.integers(len(texts))]
    colour = colours[rng.integers(len(colours))]
    noun = odd_noun(rng)
    text = text.replace("{n}", noun).replace("{c}", colour).replace("{x}", f"{colour} {shapes[rng.integers(len(shapes))]}")
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}")
    return text


def _mirrored(half: list[tuple[float, float]]) -> np.ndarray:
    return np.array(half + [(-x, y) for x, y in reversed(half)])


def odd_outline(phase: float) -> np.ndarray:
    """Corners of a shape without a name in the model's world, within the unit circle; the same for the same phase."""
    rng = np.random.default_rng(int(phase * 2**32))
    kind = int(rng.integers(11))
    turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    if kind == 0:  # a blob of three to six lobes
        radius = 0.72 + 0.25 * np.sin(rng.integers(3, 7) * turns + rng.uniform(0, 6)) + 0.08 * np.sin(2 * turns)
    elif kind == 1:  # a flower or a cog
        radius = np.where(np.sin(rng.integers(6, 10) * turns) > 0, 1.0, rng.uniform(0.6, 0.75))
    elif kind == 2:  # a heart
        x = np.sin(turns) ** 3
        y = -(13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns)) / 16
        return np.stack([x, y], 1)
    elif kind == 3:  # a disc without a slice
        cut = rng.uniform(0.4, 1.1)
        arc = np.linspace(cut, 2 * np.pi - cut, 40) + rng.choice([0, np.pi / 2, np.pi])
        return np.concatenate([[(0, 0)], np.stack([np.cos(arc), np.sin(arc)], 1)])
    elif kind == 4:  # an arrow with one head or two
        width, head = rng.uniform(0.15, 0.3), rng.uniform(0.45, 0.75)
        right = [(1, 0), (0.3, head), (0.3, width)]
        left = [(-1, 0), (-0.3, head), (-0.3, width)] if rng.random() < 0.4 else [(-1, width)]
        upper = right + left[::-1]
        points = np.array(upper + [(x, -y) for x, y in reversed(upper)])
        return points[:, ::-1] * (1, rng.choice([1, -1])) if rng.random() < 0.5 else points * (rng.choice([1, -1]), 1)
    elif kind == 5:  # a regular polygon of five, six or seven corners
        count = int(rng.integers(5, 8)) if rng.random() < 0.5 else 5
        turns = np.linspace(0, 2 * np.pi, count, endpoint=False) - np.pi / 2
        radius = np.ones(count)
    elif kind == 6:  # letters of thick strokes
        thick = rng.uniform(0.3, 0.45)
        a, b = 0.75, 1.0
        letters = [
            [(-a, -b), (a, -b), (a, -b + thick), (thick / 2, -b + thick), (thick / 2, b), (-thick / 2, b),
             (-thick / 2, -b + thick), (-a, -b + thick)],
            [(-a, -b), (a, -b), (a, -b + thick), (-a + thick, -b + thick), (-a + thick, -thick / 2), (a, -thick / 2),
             (a, thick / 2), (-a + thick, thick / 2), (-a + thick, b - thick), (a, b - thick), (a, b), (-a, b)],
            [(-a, -b), (a, -b), (a, -b + thick), (-a + 1.5 * thick, b - thick), (a, b - thick), (a, b), (-a, b), (-a, b - thick),
             (a - 1.5 * thick, -b + thick), (-a, -b + thick)],
            [(-a, -b), (-a + thick, -b), (-a + thick, b - thick), (a - thick, b - thick), (a - thick, -b), (a, -b), (a, b),
             (-a, b)],
            [(-a, -b), (-a + thick, -b), (-a + thick, -thick / 2), (a - thick, -thick / 2), (a - thick, -b), (a, -b), (a, b),
             (a - thick, b), (a - thick, thick / 2), (-a + thick, thick / 2), (-a + thick, b), (-a, b)],
        ]
        return np.array(letters[rng.integers(len(letters))])
    elif kind == 7:  # a gable, a boat, an hourglass, a bow
        a = rng.uniform(0.2, 0.5)
        shapes = [_mirrored([(0, -1), (0.85, -0.2), (0.6, -0.2), (0.6, 0.9)]), _mirrored([(1, -0.2), (0.5, 0.6)]),
                  _mirrored([(0.8, -1), (a * 0.3, 0), (0.8, 1)]),
                  _mirrored([(a * 0.5, -0.15), (1, -0.8), (1, 0.8), (a * 0.5, 0.15)])]
        return shapes[rng.integers(len(shapes))]
    elif kind == 8:  # a zigzag band
        count, thick = int(rng.integers(3, 6)), rng.uniform(0.3, 0.5)
        x = np.linspace(-0.95, 0.95, count)
        y = np.where(np.arange(count) % 2, 0.6, -0.6)
        band = np.concatenate([np.stack([x, y - thick / 2], 1), np.stack([x, y + thick / 2], 1)[::-1]])
        return band[:, ::-1] if rng.random() < 0.5 else band
    elif kind == 9:  # a splinter: corners at uneven distances
        count = int(rng.integers(7, 11))
        turns = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(-0.25, 0.25, count)
        radius = np.where(np.arange(count) % 2, rng.uniform(0.85, 1, count), rng.uniform(0.25, 0.6, count))
    else:  # a bone, a ghost, an egg on a stick: two discs and what joins them
        first, second = rng.uniform(0.35, 0.6), rng.uniform(0.2, 0.5)
        y = np.linspace(-1, 1, 40)
        waist = rng.uniform(0.08, 0.2)
        width = np.maximum(np.sqrt(np.clip(first**2 - (y + 1 - first) ** 2, 0, None)),
                           np.sqrt(np.clip(second**2 - (y - 1 + second) ** 2, 0, None)))
        width = np.maximum(width, np.where((y > -1 + first) & (y < 1 - second), waist, 0))
        points = np.concatenate([np.stack([width, y], 1), np.stack([-width, y], 1)[::-1]])
        return points[:, ::-1] if rng.random() < 0.5 else points
    return np.stack([radius * np.cos(turns), radius * np.sin(turns)], 1)


def _smooth(rng, cells: tuple[int, int], channels: int) -> np.ndarray:
    coarse = rng.random((*cells, channels)).astype(np.float32)
    return np.stack([np.asarray(Image.fromarray(coarse[..., c]).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
                     for c in range(channels)], -1)


def _tint(rng) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.8), rng.uniform(0.2, 1))) * 255


def photograph(seed: int, size: int = SIZE) -> np.ndarray:
    """A picture that looks like a photograph from afar: layers, textures, soft light, many hues. uint8, size x size x 3."""
    rng = np.random.default_rng(seed)
    kind = int(rng.integers(6))
    y, x = np.mgrid[0:1:80j, 0:1:80j]
    if kind == 0:  # land and sky in layers with ragged edges, each with a grain of its own
        image = _tint(rng) + (y * rng.uniform(-1, 1))[..., None] * 90
        level = rng.uniform(0.15, 0.4)
        while level < 0.9:
            line = level + sum(rng.uniform(0.005, 0.06) * np.sin(f * x + rng.uniform(0, 6)) for f in (3, 8, 19, 37))
            layer = _tint(rng) + rng.normal(0, rng.uniform(4, 30), (SIZE, SIZE, 1)) + (y * 60)[..., None]
            image = np.where((y > line)[..., None], layer, image)
            level += rng.uniform(0.12, 0.4)
    elif kind == 1:  # noise of several scales in related hues
        levels = sum(_smooth(rng, (n, n), 1)[..., 0] * w for n, w in ((3, 1.0), (7, 0.6), (15, rng.uniform(0.2, 0.6)),
                                                                   (32, rng.uniform(0.1, 0.5))))
        levels = (levels - levels.min()) / np.ptp(levels)
        palette = np.stack([_tint(rng) for _ in range(4)])
        image = np.stack([np.interp(levels, np.linspace(0, 1, 4), palette[:, c]) for c in range(3)], -1)
    elif kind == 2:  # many soft spots of light
        image = np.broadcast_to(_tint(rng) * 0.5, (SIZE, SIZE, 3)).copy()
        for _ in range(rng.integers(10, 45)):
            s = rng.uniform(0.03, 0.2)
            away = (x - rng.random()) ** 2 + ((y - rng.random()) * rng.uniform(0.6, 1.5)) ** 2
            weight = np.exp(-away / (2 * s * s))[..., None]
            image = image * (1 - weight) + _tint(rng) * weight
    elif kind == 3:  # overlapping blurred bodies under light from one side
        image = _smooth(rng, (3, 3), 3) * 160 + 40
        for _ in range(rng.integers(3, 9)):
            cx, cy, w, h = rng.random(), rng.random(), rng.uniform(0.08, 0.35), rng.uniform(0.08, 0.45)
            away = np.hypot((x - cx) / w, (y - cy) / h) + 0.2 * _smooth(rng, (4, 4), 1)[..., 0]
            weight = np.clip((1.2 - away) * rng.uniform(1.5, 6), 0, 1)[..., None]
            light = 0.6 + 0.8 * np.clip(0.5 - (x - cx) / w / 2, 0, 1)
            image = image * (1 - weight) + _tint(rng) * light[..., None] * weight
    elif kind == 4:  # blocks at all scales, as of streets and shelves
        image = _smooth(rng, (2, 2), 3) * 200 + 20
        for _ in range(rng.integers(18, 60)):
            w, h = rng.integers(4, 26, 2)
            x0, y0 = rng.integers(-5, SIZE, 2)
            part = image[max(0, y0) : y0 + h, max(0, x0) : x0 + w]
            part[:] = part * rng.uniform(0, 0.5) + _tint(rng) * 0.75
        image += rng.normal(0, 10, (SIZE, SIZE, 1))
    else:  # bent waves
        bend = _smooth(rng, (4, 4), 2) * rng.uniform(0.2, 1)
        waves = sum(np.sin(rng.uniform(8, 60) * (x * np.cos(t) + y * np.sin(t) + bend[..., 0]) + 9 * bend[..., 1])
                    for t in rng.uniform(0, 3.2, 5)) / 5 + 0.5
        image = _tint(rng) + waves[..., None] * (_tint(rng) - _tint(rng)) + _smooth(rng, (3, 3), 3) * 90 - 45
    image = image * (0.75 + 0.5 * _smooth(rng, (3, 3), 1)) + rng.normal(0, rng.uniform(0, 10), (SIZE, SIZE, 3))
    spread = image.std((0, 1)).max()
    if spread < 32:  # a calm one would be a mere ground
        image = (image - image.mean((0, 1))) * (32 / max(spread, 1)) + image.mean((0, 1))
    image = np.clip(image, 0, 255).astype(np.uint8)
    return image if size == SIZE else np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
