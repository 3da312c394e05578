"""Fixtures of tests/generation/: what the reference's TextStreamer and StopStringCriteria make of
ids under tokenizers of every kind (those of tokenization/)."""

import random
from pathlib import Path

import torch
from transformers import AutoTokenizer, TextStreamer
from transformers.generation.stopping_criteria import StopStringCriteria

import common
from text_corpus import TEXTS

TOKENIZERS = Path(__file__).resolve().parent / "fixtures" / "tokenization"
NAMES = ["bert_hub", "opt_hub", "llama_hub", "llama_legacy_hub", "t5_hub"]
SNIPPETS = [" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're", " do not", "'", " ",
            "  ", "\n", "\n\n", "\U0001f436", "\U0001f469\u200d\U0001f680", "\u4e2d\u6587", "\u00e9",
            "e\u0301", "word", "What is it?", "42", "<br>", "(a) x", "\u0e20\u0e32\u0e29\u0e32", "\ufffd"]


def int32_lists(lists, name):
    return {key: value.to(torch.int32) for key, value in common.ids(lists, name).items()}


def random_ids(tokenizer, length):
    """Whole texts and single ids, of which some are special, bytes, or none at all."""
    ids = []
    while len(ids) < length:
        kind = random.random()
        if kind < 0.45:
            text = random.choice(SNIPPETS if random.random() < 0.7 else TEXTS)
            ids += tokenizer(text, add_special_tokens=False)["input_ids"][:12]
        elif kind < 0.85:
            ids.append(random.randrange(len(tokenizer)))
        elif kind < 0.95:
            ids.append(random.choice(tokenizer.all_special_ids))
        else:
            ids.append(len(tokenizer) + random.randrange(3))
    return ids[:length]


def streamed(tokenizer, ids, **options):
    pieces = []
    streamer = TextStreamer(tokenizer, **options)
    streamer.on_finalized_text = lambda text, stream_end=False: pieces.append(text)
    for id in ids:
        streamer.put(torch.tensor([id]))
    streamer.end()
    return [piece for piece in pieces if piece]


def streamers(folder):
    """Ids one by one through the TextStreamer, with both values of its switches: its pieces, and
    the text of all ids."""
    common.quiet()
    common.seed(23)
    tensors = {}
    for name in NAMES:
        tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / name)
        sequences, switches, decoded, pieces, counts = [], [], [], [], []
        for case in range(48):
            ids = random_ids(tokenizer, random.randint(1, 40))
            options = dict(skip_special_tokens=case % 2 == 1, clean_up_tokenization_spaces=case % 4 > 1)
            sequences.append(ids)
            switches.append([int(value) for value in options.values()])
            decoded.append(tokenizer.decode(ids, **options))
            found = streamed(tokenizer, ids, **options)
            pieces += found
            counts.append(len(found))
        tensors |= int32_lists(sequences, f"{name}.ids")
        tensors |= common.texts(f"{name}.decoded", decoded)
        tensors |= common.texts(f"{name}.pieces", pieces)
        tensors[f"{name}.piece_counts"] = torch.tensor(counts, dtype=torch.int32)
        tensors[f"{name}.switches"] = torch.tensor(switches, dtype=torch.int32)
    common.save(folder, "generation/streamers", tensors)


def random_stop_strings(tokenizer, ids):
    """Texts that the ids may complete: parts of what they say, cut anywhere, and others."""
    text = tokenizer.decode(ids)
    found = []
    for _ in range(random.choice([1, 1, 2, 4])):
        begin = random.randrange(max(len(text), 1))
        part = text[begin : begin + random.randint(1, 7)]
        found.append(part if part and random.random() < 0.8 else random.choice(SNIPPETS))
    return found


def stop_strings(folder):
    """Whether each beginning of a row of ids ends it, for rows and stop strings at random."""
    common.quiet()
    common.seed(24)
    tensors = {}
    for name in NAMES:
        tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / name)
        rows, strings, counts, ends = [], [], [], []
        while len(rows) < 60:
            ids = random_ids(tokenizer, random.randint(2, 24))
            chosen = random_stop_strings(tokenizer, ids)
            try:
                criterion = StopStringCriteria(tokenizer, chosen)
            except ValueError:
                continue  # no token could complete any of them: refused
            rows.append(ids)
            strings += chosen
            counts.append(len(chosen))
            ends.append([int(criterion(torch.tensor([ids[:length]]), None)[0])
                         for length in range(1, len(ids) + 1)])
        tensors |= int32_lists(rows, f"{name}.ids")
        tensors |= common.texts(f"{name}.strings", strings)
        tensors |= int32_lists(ends, f"{name}.ends")
        tensors[f"{name}.string_counts"] = torch.tensor(counts, dtype=torch.int32)
    common.save(folder, "generation/stop_strings", tensors)


FIXTURES = {
    "generation/streamers": streamers,
    "generation/stop_strings": stop_strings,
}
