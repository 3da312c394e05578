#!/usr/bin/env python3
"""Writes an InstructBLIP folder with random weights whose language model has the true shape of
Vicuna-7B, Flan-T5-XL or OPT-2.7B: what loading and answering take at that size can be measured
without the real checkpoint.

    make_large_checkpoint.py --to FOLDER    16 GB of bfloat16 in shards, laid out as on the hub
    make_large_checkpoint.py --to FOLDER --language flan-t5-xl    8 GB
    make_large_checkpoint.py --to FOLDER --language opt-2.7b      8 GB
    make_large_checkpoint.py --to FOLDER --language-layers 8    what fits into less memory
    make_large_checkpoint.py --to FOLDER --language-layers 4 --vision-layers 4    a quick look
    make_large_checkpoint.py --check        a narrow one in a temporary folder: the reference loads
                                            it whole and generates
    make_large_checkpoint.py --check --inspect PROGRAM    the example program finds it usable too

Its answers mean nothing. Less than 1 GB of memory is used.
The hub has no InstructBLIP folder with OPT: vocabulary and `<image>` are those of blip2-opt-2.7b.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    BertTokenizer,
    BlipImageProcessorPil,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    LlamaConfig,
    LlamaTokenizer,
    OPTConfig,
    T5Config,
)

from make_fixtures import check_versions
from text_corpus import training_texts
from tokenization import opt_folder, t5_folder

SEED = 20
# Pieces of the hub's tokenizers, without those that are added.
LLAMA_PIECES, T5_PIECES, OPT_PIECES, QFORMER_PIECES = 32000, 32000, 50265, 30522
QUERIES = 32
HEAD = "language_model.lm_head.weight"
SHARD = 5_000_000_000
NARROW_LAYERS = dict(hidden_size=32, intermediate_size=48, num_attention_heads=2)
NARROW = {
    "vision": NARROW_LAYERS | dict(num_hidden_layers=3, image_size=28),
    "qformer": NARROW_LAYERS | dict(num_hidden_layers=2, encoder_hidden_size=32),
}
NARROW_SHARD = 1_500_000
# Numbers made at a time.
CHUNK = 1 << 20


def llama_tokenizer():
    """LLaMA's kind, with [PAD] and <image> behind as many pieces as LLaMA has; most stand for no
    text."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    alphabet = [chr(c) for c in range(33, 127)] + ["▁"]
    trainer = trainers.BpeTrainer(vocab_size=620, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(training_texts(3), trainer)
    model = json.loads(trained.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += sorted(model["vocab"], key=model["vocab"].get)
    pieces += [f"unused{i}" for i in range(LLAMA_PIECES - len(pieces))]
    tokenizer = LlamaTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=[tuple(merge) for merge in model["merges"]],
        bos_token="</s>", eos_token="</s>", unk_token="</s>", pad_token="[PAD]",
        padding_side="left",
    )  # fmt: skip
    tokenizer.model_max_length = 2048
    return tokenizer


def t5_tokenizer():
    """T5's kind, with as many pieces as T5 has and its 100 sentinels behind."""
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "t5"
        t5_folder(folder)
        path = folder / "spiece.model"
        model = ModelProto.FromString(path.read_bytes())
        for i in range(T5_PIECES - len(model.pieces)):
            model.pieces.add(piece=f"unused{i}", score=-100)
        path.write_bytes(model.SerializeToString())
        return AutoTokenizer.from_pretrained(folder)


def opt_tokenizer():
    """GPT-2's kind, with as many pieces as OPT has."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "opt"
        opt_folder(folder)
        path = folder / "vocab.json"
        vocabulary = json.loads(path.read_text(encoding="utf-8"))
        pieces = [f"unused{i}" for i in range(OPT_PIECES - len(vocabulary))]
        vocabulary |= {piece: len(vocabulary) + i for i, piece in enumerate(pieces)}
        write_json(path, vocabulary)
        return AutoTokenizer.from_pretrained(folder, padding_side="left", model_max_length=2048)


def qformer_tokenizer():
    """BERT's kind, with [DEC] behind as many pieces as BERT has."""
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=450, special_tokens=specials, show_progress=False
    )
    trained.train_from_iterator((text.lower() for text in training_texts(1)), trainer)
    vocabulary = trained.get_vocab()
    pieces = sorted(vocabulary, key=vocabulary.get)
    pieces += [f"[unused{i}]" for i in range(QFORMER_PIECES - len(pieces))]
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.truncation_side = "left"
    return tokenizer


class Language(NamedTuple):
    config: type
    tokenizer: Callable
    image_token: int
    special: dict  # ids, also of generation_config.json
    shape: dict  # where it is not the class's default
    narrow: dict
    layers: tuple  # settings that state their number


LANGUAGES = {
    "vicuna-7b": Language(
        LlamaConfig, llama_tokenizer, LLAMA_PIECES + 1,
        special=dict(bos_token_id=0, eos_token_id=1, pad_token_id=LLAMA_PIECES),
        shape=dict(vocab_size=32064),
        narrow=NARROW_LAYERS | dict(num_hidden_layers=3),
        layers=("num_hidden_layers",),
    ),
    "flan-t5-xl": Language(
        T5Config, t5_tokenizer, T5_PIECES + 100,
        special=dict(decoder_start_token_id=0, eos_token_id=1, pad_token_id=0),
        shape=dict(
            d_model=2048, d_ff=5120, num_layers=24, num_decoder_layers=24, num_heads=32,
            feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        ),
        narrow=dict(
            d_model=32, d_ff=48, d_kv=16, num_layers=3, num_decoder_layers=3, num_heads=2
        ),
        layers=("num_layers", "num_decoder_layers"),
    ),
    "opt-2.7b": Language(
        OPTConfig, opt_tokenizer, OPT_PIECES,
        special=dict(bos_token_id=2, eos_token_id=2, pad_token_id=1),
        shape=dict(
            vocab_size=50304, hidden_size=2560, ffn_dim=10240, num_hidden_layers=32,
            num_attention_heads=32, word_embed_proj_dim=2560,
        ),
        narrow=dict(
            hidden_size=32, ffn_dim=48, num_hidden_layers=3, num_attention_heads=2,
            word_embed_proj_dim=32,
        ),
        layers=("num_hidden_layers",),
    ),
}  # fmt: skip


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer(tokenizer, folder):
    """tokenizer.json and tokenizer_config.json as of today, beside the hub's older files."""
    tokenizer.save_pretrained(folder)
    write_json(folder / "special_tokens_map.json", tokenizer.special_tokens_map)
    write_json(folder / "added_tokens.json", tokenizer.get_added_vocab())


def write_processor(config, language, folder):
    """Returns the processor, whose `<image>` is the last token."""
    size = config.vision_config.image_size
    processor = InstructBlipProcessor(
        BlipImageProcessorPil(size={"height": size, "width": size}),
        language.tokenizer(), qformer_tokenizer(), num_query_tokens=QUERIES,
    )  # fmt: skip
    write_json(folder / "preprocessor_config.json", processor.image_processor.to_dict())
    write_json(
        folder / "processor_config.json",
        {"num_query_tokens": QUERIES, "processor_class": "InstructBlipProcessor"},
    )
    write_tokenizer(processor.tokenizer, folder)
    write_tokenizer(processor.qformer_tokenizer, folder / "qformer_tokenizer")
    qformer = processor.qformer_tokenizer
    pieces = qformer.convert_ids_to_tokens(range(QFORMER_PIECES))
    vocabulary = folder / "qformer_tokenizer" / "vocab.txt"
    vocabulary.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return processor


def make_config(language, narrow, text=None, vision=None):
    """`text` and `vision` are numbers of layers."""
    sizes = NARROW if narrow else {"vision": {}, "qformer": {}}
    vision_sizes = sizes["vision"] | ({} if vision is None else dict(num_hidden_layers=vision))
    text_sizes = language.shape | (language.narrow if narrow else {})
    if text is not None:
        text_sizes |= dict.fromkeys(language.layers, text)
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(**vision_sizes).to_dict(),
        qformer_config=InstructBlipQFormerConfig(
            vocab_size=QFORMER_PIECES + 1, **sizes["qformer"]
        ).to_dict(),
        text_config=language.config(**language.special, **text_sizes).to_dict(),
        num_query_tokens=QUERIES, image_token_index=language.image_token,
    )  # fmt: skip
    config.architectures = ["InstructBlipForConditionalGeneration"]
    config.dtype = torch.bfloat16
    return config


def parameters(config):
    """Names, shapes and whether a norm multiplies by it, as the reference's classes have them."""
    with torch.device("meta"):
        model = InstructBlipForConditionalGeneration(config)
    tied = set(model.all_tied_weights_keys)
    if config.text_config.model_type == "t5":  # a file that has a head unties it
        tied.remove(HEAD)
    norms = {
        f"{name}.weight"
        for name, part in model.named_modules()
        if type(part).__name__.endswith("Norm")
    }
    state = model.state_dict().items()
    return [(name, list(value.shape), name in norms) for name, value in state if name not in tied]


def shards(entries, limit):
    """As save_pretrained cuts them: in order, none above the limit."""
    parts, size = [[]], 0
    for entry in entries:
        bytes_ = 2 * int(np.prod(entry[1], dtype=np.int64))
        if parts[-1] and size + bytes_ > limit:
            parts.append([])
            size = 0
        parts[-1].append((*entry, bytes_))
        size += bytes_
    return parts


def write_values(stream, rng, count, is_norm):
    for begin in range(0, count, CHUNK):
        length = min(CHUNK, count - begin)
        if is_norm:
            values = np.full(length, 0x3F80, dtype=np.uint16)  # 1
        else:
            # Random sign, last bit of the exponent, and mantissa: between 1/128 and 1/32, with a
            # standard deviation of 0.019.
            values = np.frombuffer(rng.bytes(2 * length), dtype=np.uint16) & np.uint16(0x80FF)
            values |= np.uint16(0x3C00)
        stream.write(values)


def write_shard(path, entries, rng):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, _, bytes_ in entries:
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + bytes_]}
        offset += bytes_
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for _, _, is_norm, bytes_ in entries:
            write_values(stream, rng, bytes_ // 2, is_norm)


def write_weights(config, folder, limit):
    rng = np.random.Generator(np.random.SFC64(SEED))
    parts = shards(parameters(config), limit)
    weight_map = {}
    for i, entries in enumerate(parts):
        name = f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors"
        weight_map |= {entry[0]: name for entry in entries}
        print(f"{name}: {sum(entry[-1] for entry in entries) / 1e9:.3f} GB", flush=True)
        write_shard(folder / name, entries, rng)
    total = sum(entry[-1] for entries in parts for entry in entries)
    metadata = {"total_parameters": total // 2, "total_size": total}
    write_json(
        folder / "model.safetensors.index.json", {"metadata": metadata, "weight_map": weight_map}
    )


def make(folder, language, narrow=False, **layers):
    folder.mkdir(parents=True, exist_ok=True)
    config = make_config(language, narrow, **layers)
    processor = write_processor(config, language, folder)
    image_token = processor.tokenizer.convert_tokens_to_ids("<image>")
    assert image_token == config.image_token_index, image_token
    assert len(processor.qformer_tokenizer) == config.qformer_config.vocab_size
    config.save_pretrained(folder)
    write_json(folder / "generation_config.json", {"_from_model_config": True} | language.special)
    write_weights(config, folder, NARROW_SHARD if narrow else SHARD)


def check(language, inspect):
    from PIL import Image

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make(folder, language, narrow=True)
        model, loading = InstructBlipForConditionalGeneration.from_pretrained(
            folder, output_loading_info=True
        )
        assert not any(loading.values()), loading
        assert model.dtype == torch.bfloat16, model.dtype
        head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
        assert (head.weight is embeddings.weight) == (language.config is OPTConfig)
        processor = InstructBlipProcessor.from_pretrained(folder)
        inputs = processor(
            images=Image.new("RGB", (30, 20), "red"), text="What is this?", return_tensors="pt"
        ).to(torch.bfloat16)
        output = model.generate(
            **inputs, max_new_tokens=4, return_dict_in_generate=True, output_logits=True
        )
        assert all(torch.isfinite(logits).all() for logits in output.logits)
        if inspect:
            subprocess.run([inspect, folder], check=True)
    print("the reference loads it whole and generates")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", metavar="FOLDER", type=Path, help="write the whole one here")
    what.add_argument("--check", action="store_true", help="try a narrow one")
    parser.add_argument(
        "--language", choices=LANGUAGES, default="vicuna-7b",
        help="the language model (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--language-layers", type=int, metavar="N",
        help="of the language model, T5: of each half (default: 32, T5: 24)",
    )  # fmt: skip
    parser.add_argument(
        "--vision-layers", type=int, metavar="N", help="of the vision tower (default: ViT-g's 39)"
    )
    parser.add_argument("--inspect", metavar="PROGRAM", help="the example program, for --check")
    arguments = parser.parse_args()
    check_versions()
    language = LANGUAGES[arguments.language]
    if arguments.check:
        check(language, arguments.inspect)
    else:
        make(arguments.to, language, text=arguments.language_layers, vision=arguments.vision_layers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
