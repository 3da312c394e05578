"""The reference's similarities and probabilities for the scenes that make_answers.py drew: what the C++ library must find, too.

    python examples/demo_model/matches.py --model examples/assets/blip2-demo-itm --to tests/end_to_end/fixtures/demo

matches.json is a list: the sentences, then for each picture their ITC similarities and their ITM probabilities, in float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from evaluate_retrieval import load, probabilities, similarities
from make_answers import write

TEXTS = ["a small striped white circle", "A picture with a sign that says STOP.", "there is an orange circle and a pink ring",
         "a small blue square, a small brown square, a small orange square and a small striped black star",
         "five yellow crosses", "my neighbour's dog (42 %)"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="folder that holds the scenes")
    arguments = parser.parse_args()
    processor, model = load(arguments.model)
    made = [{"texts": TEXTS}]
    for path in sorted(arguments.to.glob("scene_*.png")):
        image = Image.open(path).convert("RGB")
        similar = [similarities(processor, model, [image], [text]).item() for text in TEXTS]  # one by one: nothing is padded
        found = [probabilities(processor, model, [image], [text]).item() for text in TEXTS]
        made.append({"image": path.name, "similarities": [round(value, 7) for value in similar],
                     "probabilities": [round(value, 7) for value in found]})
    write(arguments.to / "matches.json", made)
    print(f"{len(made) - 1} pictures, {len(TEXTS)} texts")


if __name__ == "__main__":
    main()
