"""Sentences that are true of a scene, or of another one, and which: the texts that the retrieval model learns to match.

A caption tells everything about its scene. A short sentence tells some of it, so that it can be true of other scenes as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import numpy as np

from oddities import odd_noun
from questions import NOTHING, NUMBERS, UNREAD, VALUES, caption_of, number_word, plural
from scene import ALL_SHAPES, ODD, WORDS, Scene, Thing

PHOTOGRAPH = "a photograph"  # what is said of a picture like one, in which nothing has a name
SIGN, SAYS = "a sign", "a sign that says "
FIELDS = ["size", "texture", "colour", "shape"]
FORMS = ["colour shape"] * 5 + ["shape", "colour", "size shape", "texture shape", "size colour shape", "texture colour shape",
                                "size texture colour shape"]
FRAMES = ["{}", "{}", "{}", "a picture with {}", "a picture of {}", "an image with {}", "there is {}"]
CAPTION_FRAMES = ["{}", "{}", "{}", "{}", "a picture of {}"]
MORE_WORDS = ["an", "photograph", "with"]  # of these sentences, which no question or answer has


@dataclass(frozen=True)
class Part:
    """So many things with these attributes, or a sign."""

    count: int = 1  # 7: "many", more than six
    wanted: dict[str, str] = field(default_factory=dict)
    sign: str = ""  # SIGN, UNREAD, or SAYS and a text

    @property
    def text(self) -> str:
        if self.sign:
            return self.sign
        words = [self.wanted[name] for name in FIELDS if name in self.wanted]
        if "shape" not in self.wanted:
            words.append(ODD)
        if self.count > 1:
            return " ".join([number_word(self.count), *words[:-1], plural(words[-1])])
        return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])


@dataclass(frozen=True)
class Sentence:
    parts: tuple[Part, ...]
    frame: str = "{}"
    whole: str = ""  # a caption's text: the sentence tells everything

    @property
    def text(self) -> str:
        if self.whole:
            return self.frame.format(self.whole)
        texts = [part.text for part in self.parts]
        return self.frame.format(texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1])

    def may_fit(self, scene: Scene) -> bool:
        """Whether somebody could call it true of the scene: false only if it is beyond doubt that it is not. "Two circles" may
        fit three, and a caption a scene in which there is more."""
        if not self.parts:
            return self.whole == whole_text(scene)
        alone = [part.wanted for part in self.parts if not part.sign and part.count == 1]
        return (all(sign_fits(part, scene) for part in self.parts if part.sign)
                and all(matching(part, scene) >= part.count for part in self.parts if part.count > 1)
                and _assignable(alone, scene.things))

    def fits(self, scene: Scene) -> bool:
        """Whether it is true of the scene beyond doubt: counts are exact, a caption tells everything."""
        if self.whole:
            return self.whole == whole_text(scene)
        exact = all(min(matching(part, scene), len(NUMBERS) - 1) == part.count for part in self.parts if part.count > 1)
        return exact and self.may_fit(scene)


def whole_text(scene: Scene) -> str:
    return PHOTOGRAPH if scene.photo is not None else caption_of(scene)


def _agrees(thing: Thing, wanted: dict[str, str]) -> bool:
    return all(getattr(thing, name) == value for name, value in wanted.items())


def matching(part: Part, scene: Scene) -> int:
    return sum(_agrees(thing, part.wanted) for thing in scene.things)


def sign_fits(part: Part, scene: Scene) -> bool:
    sign = scene.sign
    if sign is None or part.sign == SIGN:
        return sign is not None
    return not sign.known if part.sign == UNREAD else sign.known and sign.text == part.sign.removeprefix(SAYS)


def _assignable(wanted: list[dict[str, str]], things: list[Thing]) -> bool:
    """Whether each of `wanted` can have a thing of its own."""
    if not wanted:
        return True
    return any(_agrees(thing, wanted[0]) and _assignable(wanted[1:], things[:i] + things[i + 1 :])
               for i, thing in enumerate(things))


NOUNS = {form: noun for noun in ALL_SHAPES for form in (noun, plural(noun))}
NAMES = {name: values for name, values in VALUES.items() if name != "shape"}


def _part_of(text: str) -> Part:
    if text.startswith(SIGN):
        return Part(sign=text)
    words = text.split()
    wanted = {name: word for word in words for name, values in NAMES.items() if word in values}
    noun = NOUNS[words[-1]]
    return Part(NUMBERS.index(words[0]) if words[0] in NUMBERS else 1, wanted | ({} if noun == ODD else {"shape": noun}))


def caption(rng: np.random.Generator, scene: Scene) -> Sentence:
    text = whole_text(scene)
    if text in (NOTHING, PHOTOGRAPH):
        return Sentence((), whole=text)
    return Sentence(tuple(_part_of(part) for part in re.split(", | and ", text)), _pick(rng, CAPTION_FRAMES), text)


def _pick(rng, options):
    return options[int(rng.integers(len(options)))]


def _described(rng, thing: Thing) -> dict[str, str]:
    wanted = {name: getattr(thing, name) for name in _pick(rng, FORMS).split()}
    return {name: value for name, value in wanted.items() if value not in ("plain", ODD)} or {"colour": thing.colour}


def short_sentence(rng: np.random.Generator, scene: Scene) -> Sentence:
    """About one or two things, or several alike, or the sign, or a thing and the sign; of an empty scene its caption."""
    parts: list[Part] = []
    if scene.things and not (scene.sign and rng.random() < 0.35):
        chosen = rng.permutation(len(scene.things))[: 1 if rng.random() < 0.55 else 2]
        parts = [Part(1, _described(rng, scene.things[i])) for i in chosen]
        if parts[0].wanted == parts[-1].wanted or rng.random() < 0.4:
            parts = parts[:1]
            count = min(matching(parts[0], scene), len(NUMBERS) - 1)
            if rng.random() < 0.7:
                parts = [replace(parts[0], count=count)]
    if scene.sign and (not parts or rng.random() < 0.25):
        told = SIGN if rng.random() < 0.15 else SAYS + scene.sign.text if scene.sign.known else UNREAD
        parts.append(Part(sign=told))
    if not parts:
        return caption(rng, scene)
    frames = FRAMES if parts[0].count == 1 else FRAMES[:-1]
    return Sentence(tuple(parts), _pick(rng, frames))


def _change(rng, parts: list[Part]) -> None:
    """Another value for one attribute, count or sign, or an attribute exchanged between two parts; now and then a thing that
    no scene has."""
    i = int(rng.integers(len(parts)))
    part = parts[i]
    if part.sign:
        parts[i] = replace(part, sign=SAYS + (_pick(rng, WORDS) if rng.random() < 0.6 else str(rng.integers(100))))
        return
    if part.count > 1 and rng.random() < 0.5:
        parts[i] = replace(part, count=int(rng.integers(2, len(NUMBERS))))
        return
    name = _pick(rng, list(part.wanted))
    value = _pick(rng, [value for value in VALUES[name] if value != "plain"])
    others = [j for j, other in enumerate(parts) if name in other.wanted and other.wanted[name] != part.wanted[name]]
    if others and rng.random() < 0.5:
        j = _pick(rng, others)
        value = parts[j].wanted[name]
        parts[j] = replace(parts[j], wanted=parts[j].wanted | {name: part.wanted[name]})
    elif name == "shape" and rng.random() < 0.2:
        value = odd_noun(rng)
    parts[i] = replace(part, wanted=part.wanted | {name: value})


def changed(rng: np.random.Generator, sentence: Sentence, scene: Scene) -> Sentence:
    """A sentence much like this one that is not true of the scene."""
    for _ in range(20):
        parts = list(sentence.parts)
        if parts:
            _change(rng, parts)
        else:
            parts = [Part(1, {"colour": _pick(rng, VALUES["colour"]), "shape": _pick(rng, VALUES["shape"])})]
        other = Sentence(tuple(parts), sentence.frame)
        if not other.may_fit(scene):
            return other
    return Sentence((), whole=PHOTOGRAPH)
