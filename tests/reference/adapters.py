"""Fixtures of tests/models/peft_adapter_test.cpp: LoRA adapters of the tiny InstructBLIP
checkpoints, as peft saves them, and the logits of the merged models (peft 0.21.2)."""

import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import InstructBlipForConditionalGeneration

from common import metadata_sorted, save, seed

CHECKPOINTS = Path(__file__).resolve().parent / "fixtures" / "instructblip"

ADAPTERS = {
    # every linear layer; ranks and factors of their own
    "llama_all_linear": dict(
        r=2, lora_alpha=4, use_rslora=True, target_modules="all-linear",
        rank_pattern={"q_proj": 3, r"layers\.1\..*down_proj": 1}, alpha_pattern={"mlp.*": 6},
    ),
    # embeddings, a convolution, whole modules
    "llama_embeddings": dict(
        r=3, lora_alpha=5, target_modules=["embed_tokens", "patch_embedding", "word_embeddings"],
        modules_to_save=["language_projection", "lm_head"],
    ),
    "llama_dora_embeddings": dict(
        r=2, lora_alpha=3, use_dora=True, target_modules=["embed_tokens", "patch_embedding", "qkv"],
    ),
    "llama_tokens": dict(
        r=2, target_modules=["o_proj"], trainable_token_indices={"embed_tokens": [7, 3, 12]},
    ),
    # an expression; the biases of the whole model
    "opt_dora": dict(
        r=2, lora_alpha=3, use_dora=True, bias="all",
        target_modules=r"^(?!vision_model).*\.(q_proj|v_proj|fc1|query)$",
    ),
    "opt_biases": dict(
        r=2, lora_alpha=9, lora_bias=True, bias="lora_only",
        target_modules=["out_proj", "fc2", "value", "projection"],
        exclude_modules=r"vision_model\..*mlp.*",
    ),
    # some layers only
    "t5_layers": dict(
        r=2, lora_alpha=7, target_modules=["q", "v", "wi_0", "qkv"], layers_to_transform=[1],
        layers_pattern=["block", "layers"], modules_to_save=["lm_head"],
    ),
    "t5_relu_bias": dict(
        r=2, lora_alpha=2, target_modules=["k", "wo", "relative_attention_bias"],
    ),
}


def shake(model):
    """Adapters begin as a change of nothing."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def arguments(kind):
    """Those of a call of the checkpoint's own fixture."""
    expected = load_file(CHECKPOINTS / kind / "expected.safetensors")
    names = ["pixel_values", "qformer_input_ids", "qformer_attention_mask", "input_ids",
             "attention_mask"]
    given = {name: expected[f"forward.left.{name}"] for name in names}
    if kind.startswith("t5"):
        given["decoder_input_ids"] = torch.randint(5, 95, (3, 4))
    return given


def write(adapted, folder):
    """adapter_config.json and adapter_model.safetensors as peft writes them."""
    shutil.rmtree(folder, ignore_errors=True)
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink()
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(metadata_sorted(weights.read_bytes()))
    settings = folder / "adapter_config.json"
    config = json.loads(settings.read_text())
    for key in ("target_modules", "modules_to_save"):  # saved in any order
        if isinstance(config.get(key), list):
            config[key].sort()
    settings.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


@torch.no_grad()
def logits_of(model, given, kind):
    logits = model.eval()(**given).logits
    if not kind.startswith("t5"):
        logits[given["attention_mask"] == 0] = 0  # padding
    return logits


def load(kind):
    return InstructBlipForConditionalGeneration.from_pretrained(CHECKPOINTS / kind)


def adapters(folder):
    tensors = {}
    for number, (name, settings) in enumerate(ADAPTERS.items()):
        kind = "t5_relu" if name.startswith("t5_relu") else name.split("_")[0]
        seed(700 + number)
        given = arguments(kind)
        model = load(kind)
        model.name_or_path = f"example/instructblip-{kind}"
        adapted = get_peft_model(model, LoraConfig(**settings))
        shake(adapted)
        write(adapted, folder / "adapters" / name)
        tensors |= {f"{name}.{key}": value for key, value in given.items() if "decoder" in key}
        tensors[f"{name}.logits"] = logits_of(adapted.merge_and_unload(), given, kind)
    # An adapter of the language model alone, whose names begin inside of it.
    seed(720)
    model = load("llama")
    model.language_model.name_or_path = "example/vicuna"
    adapted = get_peft_model(
        model.language_model, LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "up_proj"])
    )
    shake(adapted)
    write(adapted, folder / "adapters" / "llama_language_model")
    model.language_model = adapted.merge_and_unload()
    tensors["llama_language_model.logits"] = logits_of(model, arguments("llama"), "llama")
    save(folder, "adapters/expected", tensors)


FIXTURES = {"adapters": adapters}
