"""What weights of 8 and 4 bits cost: the right answers of this library about the scenes of evaluate.py.

    python examples/demo_model/evaluate_weights.py --model examples/assets/instructblip-demo --vqa build-demo/examples/vqa

Prints a table in Markdown: of the short answers, those that are right; of the captions, those that name every object with its
colour, shape, size and texture; and of both, those that are word for word what the unquantised model says.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from evaluate import LONGEST, interval, named, unseen

SCHEMES = ["none", "int8", "w8a8", "int4", "vision=int8,language=int4-g32", "vision=int8,language=int4-g32-zero"]


def answers(arguments, pictures: list[Path], made, weights: str) -> list[str]:
    """Greedy, in float32, of all questions in their order."""

    def about(scene: int) -> list[str]:
        command = [arguments.vqa, "--model", arguments.model, "--image", pictures[scene], "--dtype", "float32",
                   "--weights", weights, "--threads", "1", "--max-new-tokens", str(LONGEST), "--json", "--quiet"]
        done = subprocess.run([*command, *(q.text for q in made[scene][2])], stdout=subprocess.PIPE, text=True, check=True)
        return [json.loads(line)["text"] for line in done.stdout.splitlines()]

    with ThreadPoolExecutor(arguments.processes) as pool:
        return [text for texts in pool.map(about, range(len(made))) for text in texts]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--vqa", type=Path, default=Path("build-demo/examples/vqa"))
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--weights", nargs="+", default=SCHEMES, help="the first is what the others are compared with")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    made = unseen(arguments.scenes)
    asked = [question for _, _, questions in made for question in questions]
    captions = [question.kind == "caption" for question in asked]
    original = None
    print("| weights | short answers | 95 % interval | captions | same answers |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        pictures = [Path(folder) / f"{number}.png" for number in range(len(made))]
        for path, (_, image, _) in zip(pictures, made):
            image.save(path)
        for weights in arguments.weights:
            given = answers(arguments, pictures, made, weights)
            original = original or given
            right = [named(q.answer) == named(text) if caption else q.answer == text
                     for q, text, caption in zip(asked, given, captions)]
            named_all = sum(fine for fine, caption in zip(right, captions) if caption)
            short = len(asked) - sum(captions)
            low, high = interval(sum(right) - named_all, short)
            same = sum(text == before for text, before in zip(given, original))
            print(f"| {weights} | {100 * (sum(right) - named_all) / short:.2f} % | {100 * low:.1f}-{100 * high:.1f} % | "
                  f"{100 * named_all / sum(captions):.1f} % | {100 * same / len(asked):.2f} % |", flush=True)
    print(f"\n{short} short questions and {sum(captions)} captions")


if __name__ == "__main__":
    main()
