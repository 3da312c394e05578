"""Tokenizers of the same kinds as the real checkpoints', trained on the task's own text.

The language model's is LLaMA's (byte-pair encoding with byte fallback and "▁" for spaces), OPT's (byte-level byte-pair
encoding) or T5's (unigram). The Q-Former's is BERT's WordPiece. All know the printable ASCII characters, so that
whatever is typed becomes tokens.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertTokenizer, GPT2Tokenizer, LlamaTokenizer, PreTrainedTokenizerBase, T5Tokenizer

from questions import EXTREMES, NO_SIGN, NOTHING, NUMBERS, UNKNOWN, UNREAD, WORDINGS, plural
from scene import ALL_SHAPES, COLOUR_NAMES, SIZES, TEXTURES, WORDS

PIECES = 470
BYTE_LEVEL_PIECES = 620
QUERIES = 10


@functools.lru_cache(maxsize=1)
def task_text() -> list[str]:
    """Wordings and answers with names put in at random; digits and punctuation are words of their own.

    No scene is drawn for it, so that the vocabularies stay the same when the world changes. Questions of other kinds are
    left out: their unknown words come in pieces, which is how the model can tell them.
    """
    rng = np.random.default_rng(7)

    def pick(*options: str) -> str:
        return options[int(rng.integers(len(options)))]

    def name() -> str:
        words = pick("", "", *SIZES), pick("", "", *TEXTURES), pick(*COLOUR_NAMES), pick(*ALL_SHAPES)
        return " ".join(word for word in words if word)

    lines = []
    for wording in [*(w for wordings in WORDINGS.values() for w in wordings), *(w for e in EXTREMES.values() for w in e[2])]:
        for _ in range(60):
            line = wording.replace("{colour}", pick("colour", "color")).replace("{more}", pick("larger", "bigger", "smaller"))
            counted = "how many" in line or "count" in line
            line = line.replace("{x}", plural(name()) if counted else name()).replace("{y}", name())
            lines += [line, line[0].upper() + line[1:]]
    for _ in range(2500):
        parts = [f"a {name()}" for _ in range(int(rng.integers(1, 5)))]
        parts.append(pick(f"a sign that says {pick(*WORDS)}", f"a sign that says {rng.integers(100)}", UNREAD))
        lines += [", ".join(parts[:-1]) + " and " + parts[-1], f"{pick(*NUMBERS)} {plural(name())}", f"the {name()}"]
        lines += [pick(NOTHING, NO_SIGN, UNKNOWN, "yes", "no", *NUMBERS), f"it says {pick(*WORDS)}"]
    return [re.sub(r"[0-9?,:]", lambda m: f" {m.group()} ", line) for line in lines]


PRINTABLE = [chr(c) for c in range(33, 127)]


def _byte_pairs(pieces: int, alphabet: list[str], splitter, specials: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary, which begins with `specials`, and merges."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = splitter
    trainer = trainers.BpeTrainer(vocab_size=pieces, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(task_text(), trainer)
    model = json.loads(trained.to_str())["model"]
    vocabulary = {piece: number for number, piece in enumerate(specials)}
    for piece, _ in sorted(model["vocab"].items(), key=lambda item: item[1]):
        vocabulary.setdefault(piece, len(vocabulary))
    return vocabulary, [tuple(merge) for merge in model["merges"]]


def llama_tokenizer() -> LlamaTokenizer:
    splitter = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary, merges = _byte_pairs(PIECES, [*PRINTABLE, "▁"], splitter, specials)
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=merges, pad_token="[PAD]", padding_side="left")
    tokenizer.model_max_length = 2048
    return tokenizer


def opt_tokenizer() -> GPT2Tokenizer:
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    vocabulary, merges = _byte_pairs(BYTE_LEVEL_PIECES, splitter.alphabet(), splitter, ["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer = GPT2Tokenizer(vocab=vocabulary, merges=merges, bos_token="</s>", eos_token="</s>", unk_token="</s>",
                              pad_token="<pad>", add_bos_token=True, padding_side="left")
    tokenizer.model_max_length = 128
    return tokenizer


def t5_tokenizer() -> T5Tokenizer:
    """Whole words with their frequencies as scores, and single characters for everything else."""
    words = Counter(word for line in task_text() for word in line.split() if word not in PRINTABLE)
    total = sum(words.values())
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{word}", math.log(seen / total)) for word, seen in words.most_common()]
    pieces += [(piece, -12.0) for piece in ["▁", *PRINTABLE]]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, additional_special_tokens=[])
    tokenizer.model_max_length = 128
    return tokenizer


def language_tokenizer(decoder: str) -> PreTrainedTokenizerBase:
    return {"llama": llama_tokenizer, "opt": opt_tokenizer, "t5": t5_tokenizer}[decoder]()


def qformer_tokenizer(more: list[str] = []) -> BertTokenizer:
    """`more`: words that the vocabulary has besides those of the task's text."""
    words: dict[str, None] = {}
    for line in task_text():
        for word in re.findall(r"[a-z]+", line.lower()):
            words.setdefault(word)
    printable = [c for c in PRINTABLE if not c.isupper()]
    letters = [c for c in printable if c.isalnum()]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *printable, *(f"##{c}" for c in letters)]
    pieces += sorted(w for w in words if len(w) > 1) + more
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.model_max_length = 128
    tokenizer.truncation_side = "left"
    return tokenizer
