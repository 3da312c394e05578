"""Questions about a scene in many wordings, with the one right answer, made from the scene's description."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from oddities import odd_question
from scene import COLOUR_NAMES, ODD, SHAPES, SIZES, SLOTS, TEXTURES, Scene, Thing, sample_scene

# Share of the short questions in training.
KINDS = {
    "colour": 5, "shape": 7, "texture": 4, "size": 6, "exists": 11, "count": 18,
    "larger": 8, "extreme": 13, "sign": 14, "other": 8,
}
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "many"]  # the last: more than six
# Captions in the paper's own wordings. The vocabularies are not made from them: their words come in pieces.
TEMPLATES = ["A short image description:", "A short image caption.", "Write a short description for the image.",
             "Briefly describe the content of the image."]
NOTHING, NO_SIGN, UNKNOWN, UNREAD = "nothing", "there is no sign", "I do not know", "a sign that I cannot read"


@dataclass
class Question:
    kind: str
    text: str
    answer: str
    slots: list[int] = field(default_factory=list)  # the scene's things that it is about, in the order of their use
    count: int = -1


WORDINGS = {
    "caption": ["describe the image", "describe the picture", "what is in the image?", "what is in the picture?",
                "what do you see?", "write a short description of the image", "what does the image show?",
                "list everything in the picture"],
    "colour": ["what {colour} is the {x}?", "what is the {colour} of the {x}?", "which {colour} does the {x} have?",
               "tell me the {colour} of the {x}"],
    "shape": ["what shape is the {x}?", "what is the shape of the {x}?", "which shape does the {x} have?",
              "what kind of shape is the {x}?"],
    "texture": ["what texture does the {x} have?", "what is the texture of the {x}?", "what pattern does the {x} have?",
                "is the {x} plain, striped or dotted?"],
    "size": ["what size is the {x}?", "is the {x} large or small?", "is the {x} small or large?", "how big is the {x}?"],
    "exists": ["is there a {x}?", "is there a {x} in the image?", "can you see a {x}?", "does the picture show a {x}?"],
    "count": ["how many {x} are there?", "how many {x} are in the image?", "how many {x} do you see?", "count the {x}"],
    "larger": ["which is {more}, the {x} or the {y}?", "what is {more}, the {x} or the {y}?",
               "which one is {more}: the {x} or the {y}?"],
    "sign": ["what does the sign say?", "what is written on the sign?", "read the sign", "what is on the sign?",
             "which word or number is on the sign?", "what does the text say?", "read the text", "what does it say?",
             "what is written in the image?", "what is written in the picture?", "what word is that?"],
}
EXTREMES = {  # axis, end, wordings
    "left": (0, 0, ["what is the leftmost object?", "which object is furthest to the left?", "what is on the far left?"]),
    "right": (0, -1, ["what is the rightmost object?", "which object is furthest to the right?", "what is on the far right?"]),
    "top": (1, 0, ["what is the topmost object?", "which object is the highest?", "what is at the top?"]),
    "bottom": (1, -1, ["what is the bottommost object?", "which object is the lowest?", "what is at the bottom?"]),
}
CLEAR = 4.0  # things closer than this along y are not asked to be told apart by it


def _pick(rng, options):
    return options[int(rng.integers(len(options)))]


def reference(rng: np.random.Generator, scene: Scene, thing: Thing, hidden: str = "") -> str | None:
    """A description that fits this thing only and does not give away `hidden`."""
    forms = ["colour shape"] * 5 + ["shape"] * 3 + ["colour object"] * 2
    forms += ["size shape", "texture shape", "size colour shape", "size texture object"]
    if len(scene.things) == 1:
        forms += ["object"] * 3
    fitting = []
    for form in forms:
        words = form.split()
        if hidden in words:
            continue
        used = [w for w in words if w != "object"]
        if "shape" in words and thing.shape == ODD and len(words) == 1:
            continue
        if sum(all(getattr(t, w) == getattr(thing, w) for w in used) for t in scene.things) == 1:
            fitting.append(" ".join("object" if w == "object" else getattr(thing, w) for w in words))
    return _pick(rng, fitting) if fitting else None


def _in_order(scene: Scene, axis: int) -> list[int]:
    return sorted(range(len(scene.things)), key=lambda i: (scene.things[i].x, scene.things[i].y)[axis])


def _clear(scene: Scene, a: int, b: int, axis: int) -> bool:
    return abs((scene.things[a].x, scene.things[a].y)[axis] - (scene.things[b].x, scene.things[b].y)[axis]) >= CLEAR


def plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("cross") else "s")


def number_word(count: int) -> str:
    return NUMBERS[min(count, len(NUMBERS) - 1)]


def caption_of(scene: Scene) -> str:
    """The objects from left to right; summed up where they are many or all alike."""
    things = scene.things
    if scene.photo is not None:
        return UNKNOWN
    parts = []
    if len(things) > SLOTS or len(things) > 1 and len({t.name for t in things}) == 1:
        shared = [getattr(things[0], field) for field in ("size", "texture", "colour", "shape")
                  if len({getattr(t, field) for t in things}) == 1]
        noun = shared.pop() if shared and shared[-1] in SHAPES else ODD
        words = [word for word in shared if word not in ("plain", ODD)]
        parts.append(" ".join([number_word(len(things)), *words, plural(noun)]))
    else:
        for thing in things:
            words = ["a", thing.size] + ([thing.texture] if thing.texture != "plain" else []) + [thing.colour, thing.shape]
            parts.append(" ".join(words))
    if scene.sign:
        parts.append(f"a sign that says {scene.sign.text}" if scene.sign.known else UNREAD)
    if not parts:
        return NOTHING
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _attribute(rng, scene, kind):
    text = _pick(rng, WORDINGS[kind]).replace("{colour}", _pick(rng, ["colour", "color"]))
    if not scene.things or rng.random() < 0.12:  # about something that is not there
        fields = _pick(rng, [["colour", "shape"], ["shape"], ["colour"]])
        wanted = {field: _pick(rng, VALUES[field]) for field in fields if field != kind}
        if not wanted and scene.things or _matching(scene, wanted) or wanted.get("shape") == ODD:
            return None
        name = " ".join(wanted.values()) + ("" if "shape" in wanted else " object")
        return Question(kind, text.replace("{x}", name.strip()), UNKNOWN)
    number = int(rng.integers(len(scene.things)))
    thing = scene.things[number]
    name = reference(rng, scene, thing, kind)
    if name is None:
        return None
    value = getattr(thing, kind)
    return Question(kind, text.replace("{x}", name), UNKNOWN if value == ODD else value, [number])


VALUES = {"colour": COLOUR_NAMES, "shape": SHAPES, "size": SIZES, "texture": TEXTURES}


def _matching(scene: Scene, wanted: dict) -> list[int]:
    return [i for i, t in enumerate(scene.things) if all(getattr(t, k) == v for k, v in wanted.items())]


def _exists(rng, scene):
    fields = _pick(rng, [["colour", "shape"]] * 4 + [["shape"], ["colour"], ["texture", "shape"], ["size", "shape"]])
    models = scene.things or [None]
    thing = _pick(rng, models)
    wanted = {f: getattr(thing, f) if thing else _pick(rng, VALUES[f]) for f in fields}
    if thing and rng.random() < 0.5:
        for _ in range(20):
            wanted = {f: getattr(_pick(rng, models), f) for f in fields}
            changed = _pick(rng, fields)
            if len(fields) == 1 or rng.random() < 0.5:
                wanted[changed] = _pick(rng, VALUES[changed])
            if not _matching(scene, wanted):
                break
    if wanted == {"shape": ODD}:
        return None
    found = _matching(scene, wanted)
    name = " ".join(wanted[f] for f in fields) + ("" if "shape" in fields else " object")
    text = _pick(rng, WORDINGS["exists"]).replace("{x}", name).replace(" a orange", " an orange")
    return Question("exists", text, "yes" if found else "no", found)


def _count(rng, scene):
    options_of_all = [("all", "", list(range(len(scene.things))))]
    options: dict[int, list] = {}
    for kind in ("shape", "colour", "size", "texture"):
        for value in VALUES[kind]:
            found = _matching(scene, {kind: value})
            options.setdefault(len(found), []).append((kind, value, found))
    chance = rng.random()
    if chance < 0.3:
        options = {len(scene.things): options_of_all}
    elif chance < 0.45:
        named = (_pick(rng, scene.things).name if scene.things and rng.random() < 0.85
                 else f"{_pick(rng, COLOUR_NAMES)} {_pick(rng, SHAPES)}")
        found = [i for i, t in enumerate(scene.things) if t.name == named]
        options = {len(found): [("name", named, found)]}
    numbers = list(options)
    weights = np.array([0.5 if n == 0 else 1.0 for n in numbers])
    kind, value, found = _pick(rng, options[numbers[int(rng.choice(len(numbers), p=weights / weights.sum()))]])
    noun = plural(value) if kind in ("shape", "name") else "objects" if kind == "all" else f"{value} objects"
    text = _pick(rng, WORDINGS["count"]).replace("{x}", noun)
    return Question("count", text, number_word(len(found)), found, min(len(found), len(NUMBERS) - 1))


def _larger(rng, scene):
    """Of two things, one half as wide again as the other at least; or of one that is not there."""
    alone = [i for i, t in enumerate(scene.things) if sum(t.name == other.name for other in scene.things) == 1]
    pairs = [(a, b) for a in alone for b in alone if scene.things[a].radius >= 1.5 * scene.things[b].radius]
    more, right = _pick(rng, [("larger", 0), ("bigger", 0), ("smaller", 1)])
    text = _pick(rng, WORDINGS["larger"]).replace("{more}", more)
    if rng.random() < 0.06:
        names = [f"{_pick(rng, COLOUR_NAMES)} {_pick(rng, SHAPES)}" for _ in range(2)]
        if alone and rng.random() < 0.6:
            names[int(rng.integers(2))] = scene.things[_pick(rng, alone)].name
        if names[0] == names[1] or all(any(t.name == name for t in scene.things) for name in names):
            return None
        return Question("larger", text.replace("{x}", names[0]).replace("{y}", names[1]), UNKNOWN)
    if not pairs:
        return None
    pair = _pick(rng, pairs)
    names = [scene.things[i].name for i in (pair if rng.random() < 0.5 else pair[::-1])]
    text = text.replace("{x}", names[0]).replace("{y}", names[1])
    return Question("larger", text, f"the {scene.things[pair[right]].name}", [pair[right], pair[1 - right]])


def _extreme(rng, scene):
    axis, end, wordings = _pick(rng, list(EXTREMES.values()))
    if len(scene.things) < 2 and rng.random() < 0.7:
        return None
    if not scene.things:
        return Question("extreme", _pick(rng, wordings), NOTHING)
    order = _in_order(scene, axis)
    if len(order) > 1 and not _clear(scene, order[end], order[1 if end == 0 else -2], axis):
        return None
    return Question("extreme", _pick(rng, wordings), f"the {scene.things[order[end]].name}", [order[end]])


def _sign(rng, scene):
    answer = NO_SIGN if not scene.sign else f"it says {scene.sign.text}" if scene.sign.known else UNKNOWN
    return Question("sign", _pick(rng, WORDINGS["sign"]), answer)


def _other(rng, _scene):
    return Question("other", odd_question(rng, COLOUR_NAMES, SHAPES), UNKNOWN)


def ask(rng: np.random.Generator, scene: Scene, kind: str) -> Question | None:
    """A question of this kind, or None where this scene has none (or the dice say so)."""
    if scene.photo is not None:
        other = sample_scene(rng, int(rng.integers(1, SLOTS + 1)))
        question = ask(rng, other, kind)
        return question and Question(kind, question.text, UNKNOWN)
    if kind == "caption":
        listed = list(range(len(scene.things))) if len(scene.things) <= SLOTS else []
        question = Question("caption", _pick(rng, WORDINGS["caption"] + TEMPLATES), caption_of(scene), listed,
                            min(len(scene.things), len(NUMBERS) - 1))
    elif kind in ("colour", "shape", "texture", "size"):
        question = _attribute(rng, scene, kind)
    else:
        makers = {"exists": _exists, "count": _count, "larger": _larger, "extreme": _extreme, "sign": _sign, "other": _other}
        question = makers[kind](rng, scene)
    if question:
        if rng.random() < 0.5:
            question.text = question.text[0].upper() + question.text[1:]
        if rng.random() < 0.15:
            question.text = question.text.rstrip("?")
    return question


def short_questions(rng: np.random.Generator, scene: Scene, count: int) -> list[Question]:
    kinds, shares = list(KINDS), np.array(list(KINDS.values()), float)
    questions: list[Question] = []
    while len(questions) < count:
        question = ask(rng, scene, kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))])
        if question:
            questions.append(question)
    return questions
