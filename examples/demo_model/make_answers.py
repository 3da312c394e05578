"""Writes unseen scenes as PNG files and the reference's answers about them: what the C++ library must answer, too.

    python examples/demo_model/make_answers.py --model examples/assets/instructblip-demo --to tests/end_to_end/fixtures/demo

answers_DECODER.json (llama, opt or t5) is a list of {image, question, max_new_tokens, greedy_ids, greedy_text, beam_ids,
beam_text, near_tie}: the new tokens with the end token, by greedy search and by five beams, in float32. near_tie marks the
cases whose answer may rightly differ: at some greedy step the two best tokens, or at the end the two best beams, lie within
1e-4 of each other. predictions.json holds the same for ranked and short answers of the LLaMA decoder: see predictions.py.

More scenes than those in the repository are compared with `--scenes 500 --to FOLDER` and then
`INSTRUCTBLIP_DEMO_ANSWERS=FOLDER ctest --test-dir build -R 'Demo(Model|Tasks)'`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from evaluate import LONGEST, load
from predictions import predictions
from questions import ask, short_questions
from scene import SIZE, render, sample_scene

NEAR = 1e-4
SEEDS = 6  # first part of these scenes' seeds
RANKED = 24  # so many of the scenes have predictions, too


@torch.no_grad()
def answers(processor, model, image: Image.Image, question: str) -> dict:
    inputs = processor(images=image, text=question, return_tensors="pt")
    start = inputs["input_ids"].shape[1] if model.config.use_decoder_only_language_model else 1
    greedy = model.generate(**inputs, max_new_tokens=LONGEST, output_logits=True, return_dict_in_generate=True)
    beams = model.generate(**inputs, max_new_tokens=LONGEST, num_beams=5, num_return_sequences=2, output_scores=True,
                           return_dict_in_generate=True)
    margins = [(top[0] - top[1]).item() for top in (step[0].topk(2).values for step in greedy.logits)]
    margins.append((beams.sequences_scores[0] - beams.sequences_scores[1]).item())
    end = processor.tokenizer.eos_token_id
    found = {}
    for name, sequence in (("greedy", greedy.sequences[0]), ("beam", beams.sequences[0])):
        ids = sequence[start:].tolist()
        ids = ids[: ids.index(end) + 1] if end in ids else ids
        found |= {f"{name}_ids": ids, f"{name}_text": processor.decode(ids, skip_special_tokens=True)}
    return found | {"near_tie": min(margins) < NEAR}


def write(path: Path, entries: list[dict]):
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=24)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.to.mkdir(parents=True, exist_ok=True)
    processor, model = load(arguments.model)
    decoder = model.config.text_config.model_type
    made, asked, vocabulary = [], [], []
    for number in range(arguments.scenes):
        rng = np.random.default_rng((SEEDS, number))
        scene = sample_scene(rng)
        # Every eighth picture is larger than the model's, so that resizing is part of the comparison.
        picture = Image.fromarray(render(scene, 2 * SIZE if number % 8 == 7 else SIZE)[0])
        name = f"scene_{number:03d}.png"
        picture.save(arguments.to / name, optimize=True)
        questions = [*short_questions(rng, scene, 2), ask(rng, scene, "caption")]
        if number < RANKED:
            asked.append(([picture], [name], questions[0].text))
            vocabulary += [question.answer for question in questions[:2]]
        for question in questions:
            found = answers(processor, model, picture, question.text)
            made.append({"image": name, "question": question.text, "max_new_tokens": LONGEST, **found})
    write(arguments.to / f"answers_{decoder}.json", made)
    print(f"{len(made)} answers, {sum(entry['near_tie'] for entry in made)} near ties")
    if decoder != "llama":
        return
    picture = Image.open(arguments.model.parent / "scene.png").convert("RGB")
    asked += [([picture], ["scene.png"], text)
              for text in ("how many objects are there?", "what does the sign say?", "is there a ring?")]
    asked += [([*a[0], *b[0]], [*a[1], *b[1]], b[2]) for a, b in zip(asked[:3], asked[3:6])]
    write(arguments.to / "predictions.json", predictions(processor, model, asked, vocabulary))


if __name__ == "__main__":
    main()
