"""How well a retrieval folder matches pictures and texts that no training has seen, through plain `processor` and model.

    python examples/demo_model/evaluate_retrieval.py --model examples/assets/blip2-demo-itm --scenes 500

Prints tables in Markdown: recall with captions, where scenes of the same caption are equally right; how many of the pictures
found for short sentences are right; and what the matching head says of true sentences and of those with a word or two changed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from transformers import Blip2ForImageTextRetrieval, Blip2Processor

from evaluate import interval, unseen
from scene import Scene
from sentences import Sentence, caption, changed, short_sentence, whole_text

AGAIN = 16  # so many of the best by similarity are ranked again by the matching head
TEXTS = 11  # first part of the sentences' seeds


def load(folder: Path):
    return (Blip2Processor.from_pretrained(folder),
            Blip2ForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32).eval())


@torch.no_grad()
def similarities(processor, model, images: list, texts: list[str]) -> torch.Tensor:
    """[images, texts]"""
    return model(**processor(images=images, text=texts, padding=True, return_tensors="pt")).logits_per_image


@torch.no_grad()
def probabilities(processor, model, images: list, texts: list[str], batch: int = 100) -> torch.Tensor:
    """Of each image and the text of the same place."""
    parts = []
    for first in range(0, len(texts), batch):
        part = slice(first, first + batch)
        inputs = processor(images=images[part], text=texts[part], padding=True, return_tensors="pt")
        parts.append(model(**inputs, use_image_text_matching_head=True).logits_per_image.softmax(-1)[:, 1])
    return torch.cat(parts)


def ranked_again(processor, model, images: list, texts: list[str], similar: torch.Tensor, over: int) -> torch.Tensor:
    """`similar` where the best along dimension `over` come first in the order of log(probability) + similarity."""
    best = similar.topk(AGAIN, over).indices
    chosen = torch.zeros_like(similar, dtype=torch.bool).scatter(over, best, True)
    rows, columns = chosen.nonzero(as_tuple=True)
    found = probabilities(processor, model, [images[i] for i in rows], [texts[i] for i in columns])
    again = similar - 1000.0
    again[rows, columns] = found.clamp(min=1e-30).log() + similar[rows, columns]
    return again


def recall(scores: torch.Tensor, right: torch.Tensor, count: int) -> int:
    """Rows of which one of the best `count` is right."""
    return right.gather(1, scores.topk(count, 1).indices).any(1).sum().item()


def by_chance(right: torch.Tensor, count: int) -> float:
    """What `recall` would be, as a share, if the order were left to chance."""
    width, fine = right.shape[1], right.sum(1).double()
    missed = torch.ones_like(fine)
    for drawn in range(count):
        missed *= (width - fine - drawn).clamp(min=0) / (width - drawn)
    return 1 - missed.mean().item()


def share(right: int, seen: int) -> str:
    low, high = interval(right, seen)
    return f"{100 * right / seen:.1f} % ({100 * low:.1f}-{100 * high:.1f} %)"


def show_recall(processor, model, scenes: list[Scene], images: list, captions: list[Sentence]) -> None:
    wanted = [whole_text(scene) for scene in scenes]
    told = dict(zip(wanted, captions))
    texts = sorted(told)
    right = torch.tensor([[text == own for text in texts] for own in wanted])
    true = torch.tensor([[told[text].may_fit(scene) for text in texts] for scene in scenes])
    similar = similarities(processor, model, images, texts)
    queries = torch.tensor([texts.index(own) for own in wanted])
    by_text = ranked_again(processor, model, images, texts, similar, 0)
    by_image = ranked_again(processor, model, images, texts, similar, 1)
    print(f"{len(scenes)} pictures, {len(texts)} captions\n")
    print(f"| | | ITC alone | ITM on the best {AGAIN} | by chance |\n| --- | --- | --- | --- | --- |")
    for name, counts, truth, before, after in (
            ("text to picture", (1, 5), right.T[queries], similar.T[queries], by_text.T[queries]),
            ("picture to text", (1, 5), right, similar, by_image),
            ("picture to text that is true of it", (1,), true, similar, by_image)):
        for count in counts:
            print(f"| {name} | recall at {count} | {share(recall(before, truth, count), len(truth))} | "
                  f"{share(recall(after, truth, count), len(truth))} | {100 * by_chance(truth, count):.1f} % |")


def show_precision(processor, model, scenes: list[Scene], images: list, sentences: list[Sentence]) -> None:
    """Over the sentences that are true of five pictures at least."""
    truth = {sentence.text: [sentence.fits(scene) for scene in scenes] for sentence in sentences}
    texts = [text for text, fits in truth.items() if sum(fits) >= 5]
    right = torch.tensor([truth[text] for text in texts])
    similar = similarities(processor, model, images, texts)
    again = ranked_again(processor, model, images, texts, similar, 0)
    print(f"\n{len(texts)} short sentences\n")
    print(f"| | ITC alone | ITM on the best {AGAIN} | by chance |\n| --- | --- | --- | --- |")
    for count in (1, 5):
        found = [right.gather(1, scores.T.topk(count, 1).indices).sum().item() for scores in (similar, again)]
        print(f"| right of the best {count} | {share(found[0], right[:, :count].numel())} | "
              f"{share(found[1], right[:, :count].numel())} | {100 * right.double().mean().item():.1f} % |")


def show_matching(processor, model, images: list, told: list[tuple[str, bool, list[Sentence]]]) -> None:
    print("\n| sentences | called right by ITM |\n| --- | --- |")
    for name, fits, sentences in told:
        found = probabilities(processor, model, images, [sentence.text for sentence in sentences])
        print(f"| {name} | {share(((found > 0.5) == fits).sum().item(), len(sentences))} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    processor, model = load(arguments.model)
    made = unseen(arguments.scenes)
    scenes, images = [scene for scene, _, _ in made], [image for _, image, _ in made]
    rng = np.random.default_rng((TEXTS, 0))
    captions = [caption(rng, scene) for scene in scenes]
    short = [short_sentence(rng, scene) for scene in scenes]
    show_recall(processor, model, scenes, images, captions)
    show_precision(processor, model, scenes, images, short)
    told = {"captions": captions, "short sentences": short}
    show_matching(processor, model, images, [(name, True, sentences) for name, sentences in told.items()] + [
        (f"{name}, changed", False, [changed(rng, *pair) for pair in zip(sentences, scenes)])
        for name, sentences in told.items()])


if __name__ == "__main__":
    main()
