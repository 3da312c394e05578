"""Fixtures of tests/layers/compressed_tensors_test.cpp: folders that compressed-tensors wrote, and
the logits of the models that transformers loads from them."""

import json
from pathlib import Path

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationConfig,
    QuantizationStatus,
    apply_quantization_config,
)
from compressed_tensors.quantization.utils import calculate_qparams
from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    LlamaConfig,
    OPTConfig,
)

from common import save, seed
from instructblip import QFORMER, VISION, fill

VOCABULARY, IMAGE_TOKEN, QUERIES = 60, 59, 2


def scheme(targets, bits, group=None, symmetric=True, stored="pack-quantized"):
    weights = dict(num_bits=bits, type="int", symmetric=symmetric,
                   strategy="group" if group else "channel", group_size=group)
    return dict(targets=[f"re:{target}" for target in targets], weights=weights, format=stored)


SMALL = dict(hidden_size=32, intermediate_size=64, num_attention_heads=2)
FOLDERS = {
    # 8 bits packed; 4 bits with groups of 32 and 128, and one scale per output
    "symmetric": dict(
        text=LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=128, intermediate_size=256, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=64,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        ),
        format="pack-quantized",
        groups=[
            scheme([r"vision_model\.encoder\..*"], 8),
            scheme([r"qformer\.encoder\..*output.*dense$"], 4, 32),
            scheme([r"qformer\.encoder\..*\.(query|key|value)$",
                    r"qformer\.encoder\..*\.intermediate.*", r".*\.o_proj$"], 4),
            scheme([r"language_model\.model\.layers\..*\.([qkv]|gate|up|down)_proj$"], 4, 128),
            scheme([r"language_model\.lm_head$"], 8),
        ],
    ),
    # 8 bits as int8; 4 bits with zero points
    "asymmetric": dict(
        text=OPTConfig(
            vocab_size=VOCABULARY, hidden_size=64, ffn_dim=128, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=64, word_embed_proj_dim=64,
        ),
        format="mixed-precision",
        groups=[
            scheme([r"vision_model\.encoder\..*"], 8, stored="int-quantized"),
            scheme([r"qformer\.encoder\..*\.(query|key|value)$"], 4, 32, symmetric=False),
            scheme([r"language_model\..*\.fc2$", r"qformer\.encoder\..*dense$"], 8,
                   stored="naive-quantized"),
            scheme([r"language_model\..*_proj$"], 4, symmetric=False),
            scheme([r"language_model\..*fc1$"], 4, 32, symmetric=False),
        ],
    ),
}


def quantize(model, config):
    """Gives each layer the scales that its range needs, and compresses it."""
    apply_quantization_config(model, config)
    for module in model.modules():
        found = getattr(module, "quantization_scheme", None)
        if found is None or found.weights is None:
            continue
        args, weight = found.weights, module.weight.detach()
        groups = weight.unflatten(1, (-1, args.group_size or weight.shape[1]))
        scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
        module.weight_scale.data.copy_(scale)
        if hasattr(module, "weight_zero_point"):
            module.weight_zero_point.data.copy_(zero)
        module.quantization_status = QuantizationStatus.FROZEN
    compressor = ModelCompressor(quantization_config=config)
    compressor.compress_model(model)
    return compressor


def make_folder(name, root):
    """Writes the folder; returns the model that it holds."""
    parts = FOLDERS[name]
    seed(sorted(FOLDERS).index(name) + 70)
    config = InstructBlipConfig(
        vision_config=VISION | SMALL,
        qformer_config=QFORMER | SMALL | dict(num_hidden_layers=1, vocab_size=20),
        text_config=parts["text"].to_dict(), num_query_tokens=QUERIES,
        image_token_index=IMAGE_TOKEN,
    )
    config._attn_implementation = "eager"
    model = fill(InstructBlipForConditionalGeneration(config)).to(torch.bfloat16)
    quantization = QuantizationConfig(
        config_groups={f"group_{i}": group for i, group in enumerate(parts["groups"])},
        format=parts["format"], quantization_status=QuantizationStatus.INITIALIZED,
    )
    compressor = quantize(model, quantization)
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    if config.text_config.model_type == "opt":
        del tensors["language_model.lm_head.weight"]  # tied
    save(root, f"{name}/model", tensors, metadata={"format": "pt"})
    config.architectures = ["InstructBlipForConditionalGeneration"]
    config.dtype = torch.bfloat16
    config.save_pretrained(folder)
    compressor.quantization_config.quantization_status = QuantizationStatus.COMPRESSED
    compressor.update_config(str(folder))
    if name == "asymmetric":
        # transformers 5.24 does not load packed zero points: it expects one int8 for each group
        model.float()
        compressor.decompress_model(model)
        return model.eval()
    return InstructBlipForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def expected(model):
    """What transformers computes with the folder, in float32."""
    seed(7)
    length = 6
    ids = torch.randint(3, IMAGE_TOKEN, (2, QUERIES + length))
    ids[:, :QUERIES] = IMAGE_TOKEN
    inputs = dict(
        pixel_values=torch.randn(2, 3, 16, 16), input_ids=ids,
        attention_mask=torch.ones_like(ids), qformer_input_ids=torch.randint(1, 20, (2, 5)),
        qformer_attention_mask=torch.ones(2, 5, dtype=torch.int64),
    )
    with torch.no_grad():
        return inputs | {"logits": model(**inputs).logits}


def fixture(name):
    def write(root):
        below = Path(root) / "compressed_tensors"
        save(below, f"{name}/expected", expected(make_folder(name, below)))

    return write


FIXTURES = {f"compressed_tensors_{name}": fixture(name) for name in FOLDERS}
