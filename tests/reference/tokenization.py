"""Small tokenizers of each kind, and what the reference makes of many texts.

Folders below tokenization/: as today's save_pretrained writes them, and as they lie on the hub.
"""

import io
import json
import random
import shutil
import struct
import tempfile
import zlib
from pathlib import Path

import common
import torch
from safetensors.torch import load_file
from processing import processor
from text_corpus import SPECIALS, TEXTS, random_texts, training_texts, with_specials

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
FULL = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "[PAD]"}


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
    path.write_text(text, encoding="utf-8", newline="\n")


def token(content, **switches):
    plain = dict(lstrip=False, rstrip=False, normalized=False, single_word=False)
    return {"content": content, **plain, **switches}


# What goes on a word. The trainer numbers these as a hash map gives them out, in another order in every run, and
# breaks ties between merges by number, so it is told an order.
CONTINUATIONS = "hapeixtofysrgudnvbl\u0440\u0438\u0432\u0435\u0442wmck\u1161\u11ab\u1100\u116e\u11a8"


def train_bert():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    texts = training_texts(1)
    letters = sorted(set(tokenizer.normalizer.normalize_str(" ".join(texts))) - {" "})
    continuations = ["##" + letter for letter in CONTINUATIONS]
    trainer = trainers.WordPieceTrainer(
        vocab_size=450,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *continuations],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    found = {piece for piece in vocabulary if piece.startswith("##") and len(piece) == 3}
    assert found == set(continuations), found.symmetric_difference(continuations)
    return vocabulary


def train_gpt2():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=560,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_texts(2), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [" ".join(pair) for pair in model["merges"]]


def train_sentencepiece(**arguments):
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_texts(3)), model_writer=model, minloglevel=2, num_threads=1,
        hard_vocab_limit=False, **arguments,
    )  # fmt: skip
    return model.getvalue()


def small_charsmap_rules(path):
    rules = {"\ufb01": "fi", "\ufb04": "ffl", "\u00aa": "a", "\u2122": "TM", "\u00a0": " ", "\u3000": " ",
             "\t": " ", "\n": " ", "\r": " ", "\uff21": "A", "e\u0301": "\u00e9", "\u200b": " ", "\u0000": "",
             "\ufeff": "", "\u0958": "\u0915\u093c"}  # fmt: skip
    lines = []
    for left, right in rules.items():
        if left != "\u0000":
            lines.append(" ".join(f"{ord(c):X}" for c in left) + "\t" + " ".join(f"{ord(c):X}" for c in right))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def bert_folders(root):
    vocabulary = train_bert()
    text = "\n".join(vocabulary) + "\n"
    hub = root / "bert_hub"
    write(hub / "vocab.txt", text)
    write(hub / "tokenizer_config.json", {
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512,
        "bos_token": "[DEC]", "truncation_side": "left", "clean_up_tokenization_spaces": True})  # fmt: skip
    write(hub / "special_tokens_map.json", {
        "bos_token": "[DEC]", "cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]",
        "sep_token": "[SEP]", "unk_token": "[UNK]"})  # fmt: skip
    write(hub / "added_tokens.json", {"[DEC]": len(vocabulary)})
    cased = root / "bert_cased"
    write(cased / "vocab.txt", text)
    write(cased / "tokenizer_config.json", {
        "tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": True,
        "tokenize_chinese_chars": False,
        "added_tokens_decoder": {
            str(len(vocabulary)): token("Photo", normalized=True, lstrip=True),
            str(len(vocabulary) + 1): token("pic", single_word=True, rstrip=True),
            str(len(vocabulary) + 2): token("[X]", lstrip=True, rstrip=True, special=True)}})  # fmt: skip


def opt_folder(hub):
    vocabulary, merges = train_gpt2()
    write(hub / "vocab.json", vocabulary)
    write(hub / "merges.txt", "#version: 0.2\n" + "\n".join(merges) + "\n")
    special, pad = token("</s>", normalized=True), token("<pad>", normalized=True)
    roles = ("bos_token", "eos_token", "unk_token")
    write(hub / "tokenizer_config.json", {
        "tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "add_prefix_space": False, "errors": "replace",
        **{role: {"__type": "AddedToken", **special} for role in roles},
        "pad_token": {"__type": "AddedToken", **pad}})  # fmt: skip
    write(hub / "special_tokens_map.json", {**{role: special for role in roles}, "pad_token": pad})


def llama_folders(root):
    model = train_sentencepiece(model_type="bpe", vocab_size=620, byte_fallback=True, split_digits=True,
                                normalization_rule_name="identity", remove_extra_whitespaces=False,
                                character_coverage=0.995)  # fmt: skip
    for name, legacy in (("llama_legacy_hub", True), ("llama_hub", False)):
        hub = root / name
        hub.mkdir(parents=True)
        (hub / "tokenizer.model").write_bytes(model)
        write(hub / "tokenizer_config.json", {
            "tokenizer_class": "LlamaTokenizer", "legacy": legacy, "add_bos_token": True, "add_eos_token": not legacy,
            "model_max_length": 2048, "clean_up_tokenization_spaces": False, "bos_token": "<s>",
            "eos_token": "</s>", "unk_token": "<unk>"})  # fmt: skip
        if legacy:
            write(hub / "added_tokens.json", {"[PAD]": 620})
            write(hub / "special_tokens_map.json", {**FULL, "unk_token": token("<unk>", normalized=True)})


def train_t5(**rule):
    return train_sentencepiece(
        model_type="unigram", vocab_size=330, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, **rule
    )


def t5_folder(hub):
    hub.mkdir(parents=True)
    (hub / "spiece.model").write_bytes(train_t5(normalization_rule_name="nmt_nfkc"))
    extra = [f"<extra_id_{i}>" for i in range(100)]
    write(hub / "tokenizer_config.json", {
        "tokenizer_class": "T5Tokenizer", "extra_ids": 100, "model_max_length": 512, "eos_token": "</s>",
        "unk_token": "<unk>", "pad_token": "<pad>", "additional_special_tokens": extra})  # fmt: skip


SYMBOLS = ["<sep>", "dog!", "\u00e9\u00e9", "catdog"]


def case_folding_rules(path):
    """NFKC and case folding, as nmt_nfkc_cf, of the letters that the texts of the tests have most."""
    import unicodedata

    lines = ["9\t20", "A\t20", "D\t20", "A0\t20", "3000\t20", "200B\t20"]
    blocks = (0x41, 0x600), (0x1E00, 0x2000), (0x2160, 0x2190), (0xFB00, 0xFB07), (0xFF01, 0xFFA0)
    for c in [c for block in blocks for c in range(*block)]:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", chr(c)).casefold())
        if folded != chr(c) and c != 0xA0:
            lines.append(f"{c:X}\t" + " ".join(f"{ord(part):X}" for part in folded))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def sentencepiece_kinds(folder):
    """Models of other kinds than LLaMA's and T5's, for the comparison with the sentencepiece library."""
    root = Path(folder) / "tokenization" / "sentencepiece"
    root.mkdir(parents=True, exist_ok=True)
    plain = dict(normalization_rule_name="identity")
    with tempfile.TemporaryDirectory() as temporary:
        rules = dict(normalization_rule_tsv=small_charsmap_rules(Path(temporary) / "rules.tsv"))
        folding = dict(normalization_rule_tsv=case_folding_rules(Path(temporary) / "folding.tsv"))
        models = {
            "unigram_identity": train_t5(**plain),
            "unigram_casefold": train_t5(**folding),
            "unigram_digits": train_t5(split_digits=True, **rules),
            "unigram_symbols": train_t5(user_defined_symbols=SYMBOLS, **rules),
            "bpe_symbols": train_sentencepiece(
                model_type="bpe", vocab_size=640, character_coverage=0.995, remove_extra_whitespaces=False,
                byte_fallback=True, user_defined_symbols=SYMBOLS, **plain),
            "unigram_bytes_suffix": train_sentencepiece(
                model_type="unigram", vocab_size=560, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, byte_fallback=True,
                treat_whitespace_as_suffix=True, **rules),
        }  # fmt: skip
    for name, model in models.items():
        (root / f"{name}.model").write_bytes(model)


def saved_folders(root):
    """Today's layout: those of the hub as save_pretrained writes them, and a T5 of small rules."""
    from transformers import AutoTokenizer, BertTokenizer, LlamaTokenizer, T5Tokenizer

    BertTokenizer.from_pretrained(root / "bert_hub").save_pretrained(root / "bert")
    AutoTokenizer.from_pretrained(root / "opt_hub").save_pretrained(root / "opt")
    LlamaTokenizer.from_pretrained(root / "llama_legacy_hub").save_pretrained(root / "llama")
    with tempfile.TemporaryDirectory() as temporary:
        rules = small_charsmap_rules(Path(temporary) / "rules.tsv")
        model = Path(temporary) / "spiece.model"
        model.write_bytes(train_t5(normalization_rule_tsv=rules))
        T5Tokenizer.from_pretrained(temporary, extra_ids=7).save_pretrained(root / "t5")


def folders(root):
    """Writes every folder; returns their names."""
    bert_folders(root)
    opt_folder(root / "opt_hub")
    llama_folders(root)
    t5_folder(root / "t5_hub")
    saved_folders(root)
    return ["bert_hub", "bert_cased", "bert", "opt_hub", "opt", "llama_legacy_hub", "llama_hub", "llama",
            "t5_hub", "t5"]  # fmt: skip


def int32_lists(lists, name):
    tensors = common.ids(lists, name)
    return {key: value.to(torch.int32) for key, value in tensors.items()}


OPTIONS = {
    "longest": dict(padding=True),
    "longest_left": dict(padding=True, padding_side="left"),
    "longest_right": dict(padding=True, padding_side="right"),
    "max_length": dict(padding="max_length", max_length=12),
    "max_length_cut": dict(padding="max_length", max_length=12, truncation=True),
    "multiple": dict(padding=True, pad_to_multiple_of=8),
    "cut": dict(truncation=True, max_length=6),
    "cut_by_length_alone": dict(max_length=7),
    "cut_plain": dict(truncation=True, max_length=5, add_special_tokens=False),
    "cut_to_special_tokens": dict(truncation=True, max_length=2),
    "max_length_zero": dict(truncation=True, max_length=0),
    "not_cut": dict(max_length=4, truncation=False),
    "split_special_tokens": dict(split_special_tokens=True),
}
OPTION_TEXTS = ["", "a", "What is unusual about this image?", "the dog</s> and[SEP] the cat", "blue " * 20]


def encodings(folder):
    from transformers import AutoTokenizer

    root = Path(folder) / "tokenization"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    names = folders(root)
    for name in names:
        tokenizer = AutoTokenizer.from_pretrained(root / name)
        extra = ["Photo", "pic", "[X]"] if name == "bert_cased" else []
        texts = TEXTS + with_specials(extra or SPECIALS[:8:2]) + random_texts(7, 60, SPECIALS + extra)
        all_ids = [tokenizer(text)["input_ids"] for text in texts]
        values = common.texts("texts", texts)
        values |= int32_lists(all_ids, "ids")
        values |= common.texts("decoded", [tokenizer.decode(ids) for ids in all_ids])
        plain = [tokenizer.decode(ids, skip_special_tokens=True) for ids in all_ids]
        clean = [tokenizer.decode(ids, clean_up_tokenization_spaces=True) for ids in all_ids]
        values["decoded_plain.crc"] = torch.tensor([zlib.crc32(text.encode()) for text in plain])
        values["decoded_clean.crc"] = torch.tensor([zlib.crc32(text.encode()) for text in clean])
        for option, arguments in OPTIONS.items():
            if tokenizer.pad_token is None and "padding" in arguments:
                continue  # the reference refuses
            batch = tokenizer(OPTION_TEXTS, **arguments)
            values |= int32_lists(batch["input_ids"], f"{option}.ids")
            values |= int32_lists(batch["attention_mask"], f"{option}.mask")
        special = {key: getattr(tokenizer, key + "_id", None) for key in
                   ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")}
        values["special_ids"] = torch.tensor([-1 if id is None else id for id in special.values()])
        values["sizes"] = torch.tensor([tokenizer.vocab_size, len(tokenizer)])
        metadata = {"class": type(tokenizer).__name__, "padding_side": tokenizer.padding_side,
                    "truncation_side": tokenizer.truncation_side,
                    "model_max_length": min(tokenizer.model_max_length, 10**18)}  # fmt: skip
        common.save(root, name, values, metadata)
    for name in ("bert", "opt"):  # the tests compare both layouts with the hub's
        new, hub = root / f"{name}.safetensors", load_file(root / f"{name}_hub.safetensors")
        assert all(torch.equal(value, hub[key]) for key, value in load_file(new).items()), name
        new.unlink()


SCANS = {  # a tokenizer whose ids show the normalised text and where it was cut
    "bert": ({"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
              "lowercase": True}, {"type": "BertPreTokenizer"}, "A{0}\u0301\u0327b xx{0} {0}xx"),  # fmt: skip
    "gpt2": (None, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
             "a{0}1{0}!{0} {0}"),  # fmt: skip
    "t5": ("charsmap", {"type": "WhitespaceSplit"}, "a{0} \u00aa{0}\u0300 {0}\u00aa\u0300"),
}


def scan_tokenizer(normalizer, pre_tokenizer):
    mark = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    word = {**token("xx", single_word=True), "id": 257, "special": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [word], "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [pre_tokenizer, mark]},
        "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {piece: i for i, piece in enumerate([*BYTES, "\u2581"])}, "merges": []}}  # fmt: skip


def unicode_scan(folder):
    """Of each 4096 code points, a checksum of the ids of all texts that one of them stands in."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    root = Path(folder) / "tokenization"
    t5 = json.loads(AutoTokenizer.from_pretrained(root / "t5_hub").backend_tokenizer.to_str())
    values = {}
    for name, (normalizer, pre_tokenizer, pattern) in SCANS.items():
        if normalizer == "charsmap":
            normalizer = t5["normalizer"]
        description = scan_tokenizer(normalizer, pre_tokenizer)
        if name != "t5":
            write(root / f"scan_{name}" / "tokenizer.json", description)
            write(root / f"scan_{name}" / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
        tokenizer = Tokenizer.from_str(json.dumps(description))
        sums = []
        for begin in range(0, 0x110000, 0x1000):
            texts = [pattern.format(chr(c)) for c in range(begin, begin + 0x1000) if not 0xD800 <= c <= 0xDFFF]
            checksum = 0
            for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
                checksum = zlib.crc32(struct.pack(f"<{len(encoding.ids) + 1}i", *encoding.ids, -1), checksum)
            sums.append(checksum)
        values[name] = torch.tensor(sums)
    common.save(root, "scan", values)


CLUSTERS = ("\u00aa\u00ba\u2122\u3297\u0958\u0915\u094d\u09a1\u09cd\u09dc\u0300\u0327\u0345\u200d\ufe0f\u0600\u0903"
            "\u1100\u1161\u11a8\uac00\uac01\U0001f1e9\U0001f600\U0001f3fd a\r\n\u00e9\ufb01")  # fmt: skip


def unicode_functions(folder):
    """Of each 4096 code points, checksums of what the reference makes of each; and clusters of characters, as seen
    through T5's character map."""
    import unicodedata

    from tokenizers import normalizers
    from transformers import AutoTokenizer

    nfd, lower = normalizers.NFD(), normalizers.Lowercase()
    functions = {
        "nfd": nfd.normalize_str,
        "order": lambda c: "".join(nfd.normalize_str(text) for text in (
            f"\u0345{c}\u0334", f"\u05b0{c}\u0e38", f"\u302a{c}\u0300", f"{c}{c}\u0323", f"\u0327{c}\u0591")),
        "lower": lower.normalize_str,
        "text": lambda c: "01"[c.isspace() or unicodedata.category(c)[0] in "LMN"],
    }  # fmt: skip
    values = {name: [] for name in functions}
    for begin in range(0, 0x110000, 0x1000):
        block = [chr(c) for c in range(begin, begin + 0x1000) if not 0xD800 <= c <= 0xDFFF]
        for name, function in functions.items():
            values[name].append(zlib.crc32("".join(map(function, block)).encode()))
    values = {name: torch.tensor(sums) for name, sums in values.items()}
    generator = random.Random(3)
    texts = ["".join(generator.choices(CLUSTERS, k=generator.randint(2, 7))) for _ in range(1500)]
    root = Path(folder) / "tokenization"
    t5 = AutoTokenizer.from_pretrained(root / "t5_hub").backend_tokenizer.normalizer
    values |= common.texts("clusters", texts) | common.texts("mapped", [t5.normalize_str(text) for text in texts])
    common.save(root, "unicode", values)


SPACES = ["a  b", "a   b", "  ", " <x>  <x> ", "a<x> \u3000<x>b", "<x>   a", "\n a\t <x>", "a <x>"]


def added_spaces(folder):
    """White space that is a token and white space that tokens take along, in all combinations."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    values = common.texts("texts", SPACES)
    for bits in range(16):
        space = dict(lstrip=bits & 1 > 0, rstrip=bits & 2 > 0, normalized=False)
        word = dict(lstrip=bits & 4 > 0, rstrip=bits & 8 > 0, normalized=False)
        if space["lstrip"] and not space["rstrip"] and word["rstrip"]:
            continue  # the reference panics: such a space ends before it begins
        tokenizer = AutoTokenizer.from_pretrained(Path(folder) / "tokenization/opt")
        tokenizer.add_tokens([AddedToken(" ", **space), AddedToken("<x>", **word)])
        ids = [tokenizer.encode(text, add_special_tokens=False) for text in SPACES]
        values |= int32_lists(ids, f"{bits}.ids")
    common.save(Path(folder) / "tokenization", "added_spaces", values)


def t5_without_sentinels(folder):
    """T5Tokenizer with an empty list of extra tokens, saved and loaded again."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(Path(folder) / "tokenization/t5", copy, dirs_exist_ok=True)
        config = {"tokenizer_class": "T5Tokenizer", "extra_special_tokens": []}
        (Path(copy) / "tokenizer_config.json").write_text(json.dumps(config))
        AutoTokenizer.from_pretrained(copy).save_pretrained(copy)
        tokenizer = AutoTokenizer.from_pretrained(copy)
        texts = ["a <extra_id_0> b", "<extra_id_6>", "the </s>  dog <unk>"]
        values = common.texts("texts", texts) | int32_lists([tokenizer.encode(text) for text in texts], "ids")
        values |= common.texts("special", tokenizer.all_special_tokens)
    common.save(Path(folder) / "tokenization", "t5_without_sentinels", values)


def shared_token(folder):
    """Roles that share a token, each with other properties: one that no other file has, and a control piece."""
    from transformers import AutoTokenizer

    def added(content, **switches):
        return {"__type": "AddedToken", "special": True, **token(content, **switches)}

    configs = {
        "opt": {"tokenizer_class": "GPT2Tokenizer",
                "bos_token": added("<x>", lstrip=True), "mask_token": added("<x>", rstrip=True),
                "sep_token": added("<y>"), "cls_token": added("<y>", lstrip=True),
                "extra_special_tokens": [added("<z>", rstrip=True), "<z>"]},
        "llama_hub": {"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>",
                      "mask_token": added("</s>", rstrip=True)},
    }
    texts = ["a <x> b", "a <y> b", "a <z> b", "a </s> b"]
    values = common.texts("texts", texts)
    for name, config in configs.items():
        with tempfile.TemporaryDirectory() as copy:
            shutil.copytree(Path(folder) / "tokenization" / name, copy, dirs_exist_ok=True)
            (Path(copy) / "tokenizer_config.json").write_text(json.dumps(config))
            tokenizer = AutoTokenizer.from_pretrained(copy)
        values |= common.texts(f"{name}.config", [json.dumps(config)])
        values |= int32_lists([tokenizer.encode(text) for text in texts], f"{name}.ids")
    common.save(Path(folder) / "tokenization", "shared_token", values)


FIXTURES = {
    "tokenization": encodings,
    "tokenization_shared_token": shared_token,
    "tokenization_added_spaces": added_spaces,
    "tokenization_t5_without_sentinels": t5_without_sentinels,
    "tokenization_scan": unicode_scan,
    "tokenization_unicode": unicode_functions,
    "tokenization_sentencepiece": sentencepiece_kinds,
    "processing": processor,
}
