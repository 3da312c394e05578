"""Tokenizers of the real checkpoints' kinds, trained on the task's own text.

The language model's is LLaMA's: byte-pair encoding with byte fallback and "▁" for spaces. The Q-Former's is BERT's
WordPiece. Both know the printable ASCII characters, so that whatever is typed becomes tokens.
"""

from __future__ import annotations

import functools
import json
import re

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertTokenizer, LlamaTokenizer

from questions import KINDS, ask
from scene import WORDS, sample_scene

PIECES = 470
QUERIES = 10


@functools.lru_cache(maxsize=1)
def task_text() -> list[str]:
    """Questions and answers of some scenes; digits and punctuation stand alone, so that no piece joins them to others."""
    rng = np.random.default_rng(7)
    lines = []
    for _ in range(1500):
        scene = sample_scene(rng)
        for kind in [*KINDS, "caption"]:
            question = ask(rng, scene, kind)
            if question:
                lines += [question.text, question.answer]
    lines += [f"it says {word}" for word in WORDS for _ in range(40)]
    return [re.sub(r"[0-9?,:]", lambda m: f" {m.group()} ", line) for line in lines]


def language_tokenizer() -> LlamaTokenizer:
    printable = [chr(c) for c in range(33, 127)]
    trainer = trainers.BpeTrainer(vocab_size=PIECES, initial_alphabet=[*printable, "▁"], show_progress=False)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    trained.train_from_iterator(task_text(), trainer)
    model = json.loads(trained.to_str())["model"]
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    for piece, _ in sorted(model["vocab"].items(), key=lambda item: item[1]):
        vocabulary.setdefault(piece, len(vocabulary))
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=merges, pad_token="[PAD]", padding_side="left")
    tokenizer.model_max_length = 2048
    return tokenizer


def qformer_tokenizer() -> BertTokenizer:
    words: dict[str, None] = {}
    for line in task_text():
        for word in re.findall(r"[a-z]+", line.lower()):
            words.setdefault(word)
    printable = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    letters = [c for c in printable if c.isalnum()]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *printable, *(f"##{c}" for c in letters), *sorted(w for w in words if len(w) > 1)]
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.model_max_length = 128
    tokenizer.truncation_side = "left"
    return tokenizer
