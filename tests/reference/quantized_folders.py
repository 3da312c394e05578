"""Fixtures of tests/models/quantize_checkpoint_test.cpp: the logits that transformers computes with
the folders that the program `quantize` writes from the demo models.

They need the program: INSTRUCTBLIP_QUANTIZE=build/examples/quantize. Without it, the files are kept
as they are."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from safetensors.torch import load_file
from transformers import AutoConfig, InstructBlipForConditionalGeneration

from common import save, seed

HERE = Path(__file__).resolve().parent
MODELS = HERE.parents[1] / "examples" / "assets"
DECODERS = {"llama": "instructblip-demo", "opt": "instructblip-demo-opt",
            "t5": "instructblip-demo-t5"}
RECIPES = ["int8", "w8a8", "int4", "qformer=int8,language=int4-g32-zero", "language=int4,head=int8"]


def load(folder):
    """The folder in float32. from_pretrained of transformers 5.24 loads no packed zero points (on the
    device "meta" they get the wrong shape) and no packed T5 (whose _init_weights needs `weight`);
    such a folder is loaded by the same steps without it."""
    config = json.loads((folder / "config.json").read_text())
    is_t5 = config["text_config"]["model_type"] == "t5"
    config = config["quantization_config"]
    groups = config["config_groups"].values()
    if all(group["weights"]["symmetric"] for group in groups) and not (
        is_t5 and config["format"] != "int-quantized"
    ):
        model, info = InstructBlipForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        assert not info["missing_keys"] and not info["unexpected_keys"], info
        return model.eval()
    config = QuantizationConfig.model_validate(config)
    compressor = ModelCompressor(quantization_config=config)
    model = InstructBlipForConditionalGeneration(AutoConfig.from_pretrained(folder)).float()
    apply_quantization_config(model, config)
    compressor.compress_model(model)
    found = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    tied = ("lm_head.weight", "embed_tokens.weight")
    assert all(key.endswith(tied) for key in found.missing_keys), found
    assert not found.unexpected_keys, found
    model.tie_weights()
    compressor.decompress_model(model)
    return model.eval()


def inputs_for(config):
    seed(81)
    queries, image = config.num_query_tokens, config.image_token_index
    size = config.vision_config.image_size
    words = torch.randint(5, 200, (1, 4))
    inputs = dict(
        pixel_values=torch.randint(0, 256, (1, 3, size, size)) / 128 - 1,
        input_ids=torch.cat([torch.full((1, queries), image), words], 1),
        qformer_input_ids=torch.randint(5, 25, (1, 3)),
    )
    if config.text_config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([[0, 7, 9]])
    return inputs


def write(root):
    root, name = Path(root), "compressed_tensors/written"
    program = os.environ.get("INSTRUCTBLIP_QUANTIZE")
    if program is None:
        kept = HERE / "fixtures" / f"{name}.safetensors"
        target = root / f"{name}.safetensors"
        target.parent.mkdir(parents=True, exist_ok=True)
        if kept != target:
            shutil.copyfile(kept, target)
        print(f"{name}: kept, as INSTRUCTBLIP_QUANTIZE does not name the program")
        return
    tensors = {}
    for decoder, model_name in DECODERS.items():
        for recipe in RECIPES:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "folder"
                subprocess.run([program, "--model", MODELS / model_name, "--to", folder,
                                "--weights", recipe, "--quiet"], check=True)
                model = load(folder)
            inputs = inputs_for(model.config)
            with torch.no_grad():
                logits = model(**inputs).logits[:, -1]
            tensors[f"{decoder}.{recipe}"] = logits
        pixels = inputs.pop("pixel_values")
        tensors["pixel_bytes"] = ((pixels + 1) * 128).to(torch.uint8)
        tensors |= {f"{decoder}.{key}": value for key, value in inputs.items()}
    save(root, name, tensors)


FIXTURES = {"compressed_tensors_written": write}
