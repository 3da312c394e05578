"""How well a checkpoint folder answers about scenes that no training has seen, through plain `processor` and `generate`.

    python examples/demo_model/evaluate.py --model examples/assets/instructblip-demo --scenes 300 --sheet samples.png

Prints a table in Markdown: accuracy of each kind of question with its 95 % interval (Wilson), the share of answers that are
wrong although the model trusts in them (p > 0.9, the product of all tokens' probabilities) and what the commonest answer
alone would get; then what is left when the Q-Former's text is taken away or exchanged while the language model still
reads the right question.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from transformers import InstructBlipForConditionalGeneration, InstructBlipProcessor

from questions import KINDS, NUMBERS, UNKNOWN, Question, ask, caption_of, plural
from scene import ALL_SHAPES, COLOUR_NAMES, SIZES, TEXTURES, Scene, render, sample_scene

LONGEST = 64  # tokens; given to generate() each time, since InstructBLIP's own does not read the folder's generation_config.json
UNSEEN = 5  # first part of the seeds of this file's scenes; the training's are 1, 2, 3, 4, 8, 9, 10 and, for its checks, 0


def load(folder: Path):
    """In float32, whatever the file holds: the reference's arithmetic in bfloat16 rounds differently on every machine."""
    processor = InstructBlipProcessor.from_pretrained(folder)
    return processor, InstructBlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def answer_with_probability(processor, model, images, texts, told=None, batch: int = 30) -> list[tuple[str, float]]:
    """Greedy answers, each with the product of its tokens' probabilities, the end token's among them.

    `told`, if given, is what the Q-Former reads instead of the questions.
    """
    answers = []
    for first in range(0, len(texts), batch):
        part = slice(first, first + batch)
        inputs = processor(images=images[part], text=texts[part], padding=True, return_tensors="pt")
        # The processor pads the Q-Former's text on the left, as the language model's, which shifts its positions.
        read = processor.qformer_tokenizer((told or texts)[part], padding=True, padding_side="right", return_tensors="pt")
        inputs["qformer_input_ids"], inputs["qformer_attention_mask"] = read["input_ids"], read["attention_mask"]
        output = model.generate(**inputs, max_new_tokens=LONGEST, output_logits=True, return_dict_in_generate=True)
        scores = torch.stack(output.logits, 1).double().log_softmax(-1)
        ids = output.sequences[:, -scores.shape[1] :]
        chosen = scores.gather(-1, ids[..., None])[..., 0]
        ended = (ids == processor.tokenizer.eos_token_id).int()
        chosen[(ended.cumsum(1) - ended) > 0] = 0.0
        answers += zip(processor.batch_decode(ids, skip_special_tokens=True), chosen.sum(1).exp().tolist())
    return answers


def answer(processor, model, images, texts, told=None) -> list[str]:
    return [text for text, _ in answer_with_probability(processor, model, images, texts, told)]


def named(caption: str) -> Counter:
    """The objects that a caption names: size, texture, colour and shape of each; "nothing" and the like as they are."""
    things = Counter()
    for part in caption.replace(" and ", ", ").split(", "):
        words = part.split()
        count = NUMBERS.index(words[0]) if words and words[0] in NUMBERS else 1
        noun = NOUNS.get(words[-1] if words else "")
        if noun:
            described = [next((w for w in words if w in names), None) for names in (SIZES, TEXTURES[1:], COLOUR_NAMES)]
            things[(*described, noun)] += count
    return things or Counter([(None, None, None, caption)])


NOUNS = {form: noun for noun in ALL_SHAPES for form in (noun, plural(noun))}


def interval(right: int, seen: int) -> tuple[float, float]:
    z, share = 1.96, right / seen
    middle = (share + z * z / (2 * seen)) / (1 + z * z / seen)
    half = z * (share * (1 - share) / seen + z * z / (4 * seen * seen)) ** 0.5 / (1 + z * z / seen)
    return middle - half, middle + half


def unseen(count: int) -> list[tuple[Scene, Image.Image, list[Question]]]:
    """Scenes with one question of every kind that the scene has."""
    made = []
    for i in range(count):
        rng = np.random.default_rng((UNSEEN, i))
        scene = sample_scene(rng)
        asked = [ask(rng, scene, kind) for kind in [*KINDS, "caption"]]
        made.append((scene, Image.fromarray(render(scene)[0]), [q for q in asked if q]))
    return made


def sheet(processor, model, path: Path, rows: int = 3, columns: int = 4, side: int = 160) -> None:
    """Unseen scenes with questions and the model's answers, wrong ones in red."""
    font = ImageFont.truetype("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", 11)
    line, lines = 14, 15
    canvas = Image.new("RGB", (columns * (side + 40), rows * (side + lines * line + 12)), "white")
    draw = ImageDraw.Draw(canvas)
    for number in range(rows * columns):
        rng = np.random.default_rng((UNSEEN, 10_000_000 + number))
        scene = sample_scene(rng, 2 + number % 3)
        picture = Image.fromarray(render(scene)[0])
        asked = []
        while len(asked) < 3:
            kind = list(KINDS)[int(rng.integers(len(KINDS)))]
            question = ask(rng, scene, kind)
            if question and kind not in [q.kind for q in asked]:
                asked.append(question)
        asked.append(ask(rng, scene, "caption"))
        given = answer(processor, model, [picture] * 4, [q.text for q in asked])
        x, y = (number % columns) * (side + 40) + 6, (number // columns) * (side + lines * line + 12) + 6
        canvas.paste(ImageOps.posterize(picture.resize((side, side), Image.Resampling.NEAREST), 6), (x, y))  # a smaller file
        y += side + 2
        for question, text in zip(asked, given):
            colour = "#106020" if text == question.answer else "#b00020"
            for wording, ink in ((question.text, "black"), ("  " + text, colour)):
                words, row = wording.split(" "), ""
                for word in words:
                    if draw.textlength(row + word, font) > side + 26:
                        draw.text((x, y), row, ink, font)
                        row, y = "  ", y + line
                    row += word + " "
                draw.text((x, y), row, ink, font)
                y += line
    canvas.save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--wrong", type=int, default=0, help="show so many wrong answers")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    processor, model = load(arguments.model)
    if arguments.sheet:
        sheet(processor, model, arguments.sheet)
    made = unseen(arguments.scenes)
    rows = [(scene, image, q) for scene, image, asked in made for q in asked]
    rows.sort(key=lambda row: row[2].kind == "caption")
    images, texts = [image for _, image, _ in rows], [q.text for _, _, q in rows]
    given = answer_with_probability(processor, model, images, texts)
    results = [(q.kind, q.answer, text, p) for (_, _, q), (text, p) in zip(rows, given)]
    print("| kind | questions | right | 95 % interval | wrong, p > 0.9 | commonest answer |")
    print("| --- | --- | --- | --- | --- | --- |")

    def show(name, part, same=lambda wanted, text: wanted == text, constant=False):
        right = [same(wanted, text) for _, wanted, text, _ in part]
        low, high = interval(sum(right), len(right))
        sure = sum(not fine and p > 0.9 for fine, (*_, p) in zip(right, part)) / len(part)
        commonest, often = Counter(wanted for _, wanted, _, _ in part).most_common(1)[0]
        usual = f"{100 * often / len(part):.1f} % (“{commonest}”)" if constant else "-"
        print(f"| {name} | {len(part)} | {100 * sum(right) / len(right):.1f} % | {100 * low:.1f}-{100 * high:.1f} % | "
              f"{100 * sure:.1f} % | {usual} |")

    short = [row for row in results if row[0] != "caption"]
    show("all short answers", short, constant=True)
    for kind in KINDS:
        show(kind, [row for row in short if row[0] == kind], constant=True)
    show("sign, where there is a known text", [row for row in short if row[1].startswith("it says")])
    show("what is not known, of all kinds", [row for row in short if row[1] == UNKNOWN])
    captions = [row for row in results if row[0] == "caption"]
    pairs_of = lambda text: Counter((thing[2], thing[3]) for thing in named(text).elements())
    show("caption: colour and shape of every object", captions, lambda wanted, text: pairs_of(wanted) == pairs_of(text))
    show("caption: and size and texture", captions, lambda wanted, text: named(wanted) == named(text))
    show("caption: word for word", captions)

    count = len(short)
    for name, told in (("blanked", [""] * count), ("exchanged for another question", texts[7:count] + texts[:7])):
        again = answer(processor, model, images[:count], texts[:count], told)
        right = sum(text == row[2].answer for text, row in zip(again, rows))
        usual = sum(wanted == text for _, wanted, text, _ in short)
        print(f"\nQ-Former's text {name}: {100 * right / count:.1f} % instead of {100 * usual / count:.1f} %")
    wrong = [(row, text, p) for row, (text, p) in zip(rows, given) if text != row[2].answer]
    for (scene, _, question), text, p in wrong[: arguments.wrong]:
        print(f"\n{caption_of(scene)}\n  {question.text}\n  wanted: {question.answer}\n  got:    {text}  (p = {p:.3f})")


if __name__ == "__main__":
    main()
