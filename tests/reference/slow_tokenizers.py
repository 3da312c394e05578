#!/usr/bin/env python3
"""Writes fixtures/tokenization/slow.safetensors: what the tokenizers of transformers 4.49.0 with use_fast=False make of
many texts and ids. It needs an environment of its own (transformers 4.49.0, sentencepiece, torch), so make_fixtures.py
does not call it."""

import json
import random
import shutil
import struct
import tempfile
import zlib
from pathlib import Path

import torch
import transformers
from common import ids, quiet, save, texts
from text_corpus import SPECIALS, TEXTS, random_texts, with_specials
from transformers import AddedToken, AutoTokenizer

FOLDER = Path(__file__).resolve().parent / "fixtures" / "tokenization"


def token(content, special=False, **switches):
    plain = dict(lstrip=False, normalized=not special, rstrip=False, single_word=False)
    return {"content": content, **plain, **switches, "special": special}


def role(content):
    return {"__type": "AddedToken", **token(content)}


def vicuna(**changes):
    """The tokenizer_config.json of Vicuna, from before added_tokens_decoder."""
    return {"add_bos_token": True, "add_eos_token": False, "bos_token": role("<s>"), "eos_token": role("</s>"),
            "unk_token": role("<unk>"), "pad_token": None, "model_max_length": 2048, "sp_model_kwargs": {},
            "clean_up_tokenization_spaces": False, "tokenizer_class": "LlamaTokenizer", **changes}  # fmt: skip


LLAMA_TOKENS = {"0": token("<unk>", True), "1": token("<s>", True), "2": token("</s>", True),
                "620": token("<image>", True), "621": token("Photo", lstrip=True), "622": token("[X]", rstrip=True),
                "623": token("pic", single_word=True), "624": token("two words", True, lstrip=True, rstrip=True)}  # fmt: skip
T5_TOKENS = {"0": token("<pad>", True), "1": token("</s>", True), "2": token("<unk>", True),
             "430": token("Photo", lstrip=True, single_word=True), "431": token("<image>", True)}  # fmt: skip
MAP = {"bos_token": token("</s>"), "eos_token": "</s>", "unk_token": "</s>", "pad_token": "[PAD]"}
SENTINELS = [f"<extra_id_{i}>" for i in range(7)]

# Name: the folder that has the .model, the other files, arguments of from_pretrained, whether <image> is added.
CASES = {
    "vicuna": ("llama_hub", {"tokenizer_config.json": vicuna(), "special_tokens_map.json": MAP,
                             "added_tokens.json": {"[PAD]": 620, "Photo": 621}}, {}, True),
    "vicuna_new_behaviour": ("llama_hub", {"tokenizer_config.json": vicuna(legacy=False, add_eos_token=True)}, {}, True),
    "llama_decoder": ("llama_hub", {"tokenizer_config.json": {
        "tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": LLAMA_TOKENS, "pad_token": "<unk>",
        "additional_special_tokens": ["two words"], "clean_up_tokenization_spaces": True}}, {}, False),
    "llama_decoder_new": ("llama_hub", {"tokenizer_config.json": {
        "tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": LLAMA_TOKENS, "legacy": False,
        "add_bos_token": False, "extra_special_tokens": {"image_token": "<image>"}}}, {}, False),
    "llama_no_prefix": ("llama_hub", {"tokenizer_config.json": {
        "tokenizer_class": "LlamaTokenizer", "legacy": False, "add_prefix_space": False}}, {"pad_token": "<pad>"}, True),
    "flan_t5": ("t5_hub", None, {}, True),
    "t5_new_behaviour": ("t5_hub", {"tokenizer_config.json": {
        "tokenizer_class": "T5Tokenizer", "legacy": False, "clean_up_tokenization_spaces": True}}, {}, True),
    "t5_decoder": ("t5_hub", {"tokenizer_config.json": {
        "tokenizer_class": "T5Tokenizer", "added_tokens_decoder": T5_TOKENS, "extra_ids": 7,
        "additional_special_tokens": SENTINELS, "model_max_length": 512}}, {}, False),
    "t5_late_sentinels": ("t5_hub", {"tokenizer_config.json": {
        "tokenizer_class": "T5Tokenizer", "extra_ids": 7, "legacy": False,
        "additional_special_tokens": [role("<image>"), "[SEP]"]}}, {}, False),
}  # fmt: skip
OWN = ["Photo", "[X]", "pic", "two words", " ", "\n"]
ALL_TEXTS = [
    *TEXTS, *with_specials(SPECIALS[:8:2] + OWN[:4]), *random_texts(11, 150, SPECIALS + OWN),
    "picPhoto pic Photo [X] pic", "a picture of pic. pic", "Photo\u3000 Photo", "x </s>", "</s>", "x </s> ", "<s> <s>",
    "<s>a <s> a<s>\u2581a", "two words\u001c\u0085[X] \u001f a", "<extra_id_0><extra_id_10> <extra_id_6> <extra_id_99>",
]  # fmt: skip
BATCH = ["", "a", "What is unusual about this image?", "the dog</s> and[SEP] the cat", "blue " * 20, "cat </s>"]


def checksums(values):
    """Of texts or bytes; int32 with the bits of the unsigned number."""
    encoded = [value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value for value in values]
    return torch.tensor([zlib.crc32(value) for value in encoded]).to(torch.int32)


def int32_lists(lists, name):
    return {key: value.to(torch.int32) for key, value in ids(lists, name).items()}


def random_ids(tokenizer, count):
    generator = random.Random(5)
    known = sorted(tokenizer.get_vocab().values())
    rare = sorted(tokenizer.added_tokens_decoder)[:30] + [0, 1, 2, 5, 50, 200]
    lists = []
    for _ in range(count):
        length = generator.randint(1, 12)
        lists.append([generator.choice(rare if generator.random() < 0.3 else known) for _ in range(length)])
    return lists


def run(name, store):
    source, files, arguments, adds_image = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        if files is None:
            shutil.copytree(FOLDER / source, folder, dirs_exist_ok=True)
            files = {path.name: json.loads(path.read_text()) for path in Path(folder).glob("*.json")}
        for file in ("tokenizer.model", "spiece.model"):
            if (FOLDER / source / file).exists():
                shutil.copy(FOLDER / source / file, folder)
        contents = {file: json.dumps(content) for file, content in files.items()}
        for file, content in contents.items():
            (Path(folder) / file).write_text(content)
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=False, **arguments)
    if adds_image:
        tokenizer.add_tokens([AddedToken("<image>", normalized=False, special=True)], special_tokens=True)
    store |= texts(f"{name}.files", [part for item in contents.items() for part in item])
    all_ids = [tokenizer(text)["input_ids"] for text in ALL_TEXTS]
    for i in (4, 44, 60):
        assert all_ids[i] == tokenizer([ALL_TEXTS[i]])["input_ids"][0]
    pieces = [tokenizer.convert_ids_to_tokens(found) for found in all_ids]
    store[f"{name}.ids"] = checksums([struct.pack(f"<{len(found)}i", *found) for found in all_ids])
    store[f"{name}.tokens"] = checksums(["\n".join(found) for found in pieces])
    others = random_ids(tokenizer, 80)
    store |= int32_lists(others, f"{name}.random_ids")
    for option, switches in {"": {}, "plain.": {"skip_special_tokens": True},
                             "clean.": {"clean_up_tokenization_spaces": True}}.items():  # fmt: skip
        decoded = [tokenizer.decode(found, **switches) for found in all_ids + others]
        store[f"{name}.{option}decoded"] = checksums(decoded)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    batch = tokenizer(BATCH, padding="longest", truncation=True, max_length=9)
    store |= int32_lists(batch["input_ids"], f"{name}.batch")
    store[f"{name}.batch_mask"] = torch.tensor(batch["attention_mask"])
    roles = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
    special = [getattr(tokenizer, f"{role}_id") for role in roles]
    store[f"{name}.special_ids"] = torch.tensor([-1 if found is None else found for found in special])
    store[f"{name}.all_special_ids"] = torch.tensor(tokenizer.all_special_ids)
    store[f"{name}.sizes"] = torch.tensor([tokenizer.vocab_size, len(tokenizer)])
    added = tokenizer.added_tokens_decoder.items()
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    store |= texts(f"{name}.added", [found.content for _, found in added])
    store[f"{name}.added_flags"] = torch.tensor([[i, *(getattr(found, flag) for flag in flags)] for i, found in added])
    return {f"{name}.source": source, f"{name}.class": type(tokenizer).__name__,
            f"{name}.padding_side": tokenizer.padding_side, f"{name}.image": int(adds_image),
            f"{name}.pad_token": arguments.get("pad_token", "")}  # fmt: skip


def main():
    assert transformers.__version__ == "4.49.0", transformers.__version__
    quiet()
    store, metadata = texts("texts", ALL_TEXTS), {}
    for name in CASES:
        metadata |= run(name, store)
    metadata["cases"] = " ".join(CASES)
    save(FOLDER, "slow", store, metadata)


if __name__ == "__main__":
    main()
