"""Fixtures of tests/layers/quantized_form_test.cpp: folders whose weights bitsandbytes, GPTQ and AWQ
quantised, and the logits of the models that they hold, computed in float32.

bitsandbytes and transformers write its folders themselves. GPTQ and AWQ run on GPUs only, so their
tensors are packed here, as their formats are published; the model of the expected logits has the
values that they stand for."""

import copy
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from bitsandbytes.functional import QuantState, dequantize_4bit, dequantize_blockwise
from safetensors.torch import load_file
from transformers import (
    BitsAndBytesConfig,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    LlamaConfig,
    OPTConfig,
    T5Config,
)

from common import save, seed
from compressed_tensors_folders import IMAGE_TOKEN, QUERIES, SMALL, VOCABULARY
from instructblip import QFORMER, VISION, fill

TEXT = {
    "llama": LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=256, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=64, max_position_embeddings=64,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    ),
    "opt": OPTConfig(
        vocab_size=VOCABULARY, hidden_size=64, ffn_dim=128, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=64, word_embed_proj_dim=64,
    ),
    "t5": T5Config(
        vocab_size=VOCABULARY, d_model=64, d_kv=16, d_ff=96, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0,
    ),
}


def make_model(text, number, dtype=torch.bfloat16):
    """A random model in float32 whose weights are numbers of `dtype`."""
    seed(number)
    config = InstructBlipConfig(
        vision_config=VISION | SMALL,
        qformer_config=QFORMER | SMALL | dict(num_hidden_layers=1, vocab_size=20),
        text_config=TEXT[text].to_dict(), num_query_tokens=QUERIES, image_token_index=IMAGE_TOKEN,
    )
    config._attn_implementation = "eager"
    config.architectures = ["InstructBlipForConditionalGeneration"]
    model = fill(InstructBlipForConditionalGeneration(config)).eval()
    for parameter in model.parameters():  # but no buffers, such as the frequencies of positions
        parameter.data = parameter.data.to(dtype).float()
    return model


def expected(model):
    seed(7)
    ids = torch.randint(3, IMAGE_TOKEN, (2, QUERIES + 5))
    ids[:, :QUERIES] = IMAGE_TOKEN
    inputs = dict(
        pixel_values=torch.randn(2, 3, 16, 16), input_ids=ids,
        attention_mask=torch.ones_like(ids), qformer_input_ids=torch.randint(1, 20, (2, 5)),
        qformer_attention_mask=torch.ones(2, 5, dtype=torch.int64),
    )
    if model.config.text_config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([[0, 7, 9], [0, 4, 30]])
    with torch.no_grad():
        return inputs | {"logits": model(**inputs).logits}


# bitsandbytes


def dequantized(tensors, name):
    """The float32 weight of the module `name` of a folder of bitsandbytes."""
    weight = tensors[f"{name}.weight"]
    if weight.dtype == torch.int8:
        return weight.float() * (tensors[f"{name}.SCB"].float() / 127)[:, None]
    parts = {
        key.removeprefix(f"{name}.weight."): value
        for key, value in tensors.items() if key.startswith(f"{name}.weight.")
    }
    state = QuantState.from_dict(parts, torch.device("cpu"))
    state.dtype = torch.float32
    if state.nested:
        state.absmax = dequantize_blockwise(state.absmax, state.state2) + state.offset
        state.nested, state.state2, state.offset = False, None, None
    return dequantize_4bit(weight, state).reshape(state.shape)


def bitsandbytes_folder(name, text, number, **settings):
    def write(root):
        below = Path(root) / "foreign" / name
        below.mkdir(parents=True, exist_ok=True)
        model = make_model(text, number)
        with tempfile.TemporaryDirectory() as scratch:
            copy.deepcopy(model).to(torch.bfloat16).save_pretrained(scratch)
            quantized = InstructBlipForConditionalGeneration.from_pretrained(
                scratch, quantization_config=BitsAndBytesConfig(**settings), device_map="cpu",
                dtype=torch.bfloat16,
            )
            written = Path(scratch) / "quantized"
            quantized.save_pretrained(written)
            tensors = load_file(written / "model.safetensors")
            shutil.copyfile(written / "config.json", below / "config.json")
        save(root, f"foreign/{name}/model", tensors, metadata={"format": "pt"})
        state = {}
        for key, value in model.state_dict().items():
            module = key.removesuffix(".weight")
            is_quantized = f"{module}.SCB" in tensors or f"{key}.absmax" in tensors
            state[key] = dequantized(tensors, module) if is_quantized else value
        count = sum(not torch.equal(state[key], value) for key, value in model.state_dict().items())
        assert count > 10, count
        model.load_state_dict(state)
        save(root, f"foreign/{name}/expected", expected(model))

    return write


# GPTQ and AWQ

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def packed(codes, order=range(8)):
    """Eight codes in a row of the last dimension in one int32, the first of `order` lowest."""
    codes = codes.reshape(*codes.shape[:-1], -1, 8).astype(np.uint32)
    words = np.zeros(codes.shape[:-1], np.uint32)
    for place, column in enumerate(order):
        words |= codes[..., column] << np.uint32(4 * place)
    return torch.from_numpy(words.view(np.int32).copy())


def quantize_groups(weight, size, symmetric):
    """weight [out, in] -> codes [in, out], zero points and float16 scales [groups, out]."""
    columns = weight.T.numpy()
    groups = columns.reshape(-1, size, columns.shape[1])
    low, high = np.minimum(groups.min(1), 0), np.maximum(groups.max(1), 0)
    if symmetric:
        scales = (2 * np.maximum(-low, high) / 15).astype(np.float16)
        zeros = np.full(scales.shape, 8)
    else:
        scales = ((high - low) / 15).astype(np.float16)
        zeros = np.clip(np.round(-low / scales.astype(np.float32)), 0, 15).astype(int)
    codes = np.round(groups / scales[:, None].astype(np.float32)) + zeros[:, None]
    return np.clip(codes, 0, 15).astype(int).reshape(columns.shape), zeros, scales


def grouped_folder(name, text, number, settings, modules, size, symmetric=False):
    """The language model's linear layers in groups of `size` inputs (None: all of them)."""
    awq = settings["quant_method"] == "awq"

    def write(root):
        model = make_model(text, number, torch.float16)
        tensors = {key: value.half() for key, value in model.state_dict().items()}
        for key, module in model.language_model.named_modules():
            if not key.endswith(modules):
                continue
            if not symmetric and key.endswith(modules[0]):
                module.weight.data.abs_()  # zero points of 0, which GPTQ stores as 15
            inputs, scope = module.in_features, f"language_model.{key}"
            codes, zeros, scales = quantize_groups(module.weight.data, size or inputs, symmetric)
            group = np.arange(inputs) // (size or inputs)
            values = scales[group].astype(np.float32) * (codes - zeros[group]).astype(np.float32)
            module.weight.data = torch.from_numpy(values.T.copy())
            del tensors[f"{scope}.weight"]
            tensors[f"{scope}.scales"] = torch.from_numpy(scales)
            if awq:
                tensors[f"{scope}.qweight"] = packed(codes, AWQ_ORDER)
                tensors[f"{scope}.qzeros"] = packed(zeros, AWQ_ORDER)
                continue
            tensors[f"{scope}.qweight"] = packed(codes.T).T.contiguous()
            less = settings.get("checkpoint_format") != "gptq_v2"
            tensors[f"{scope}.qzeros"] = packed((zeros - less) & 15)
            tensors[f"{scope}.g_idx"] = torch.from_numpy(group.astype(np.int32))
        if text == "opt":
            del tensors["language_model.lm_head.weight"]  # tied
        below = Path(root) / "foreign" / name
        below.mkdir(parents=True, exist_ok=True)
        model.config.save_pretrained(below)
        config = json.loads((below / "config.json").read_text())
        config["quantization_config"] = settings
        (below / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        save(root, f"foreign/{name}/model", tensors, metadata={"format": "pt"})
        for key, value in model.state_dict().items():
            if key in tensors:
                assert torch.equal(value, tensors[key].float()), key
        save(root, f"foreign/{name}/expected", expected(model))

    return write


LLAMA_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
OPT_LAYERS = ("fc1", "q_proj", "k_proj", "v_proj", "out_proj", "fc2")
T5_LAYERS = ("wi_0", "wi_1", ".q", ".k", ".v", ".o")
FIXTURES = {
    "foreign_int8": bitsandbytes_folder("int8", "opt", 90, load_in_8bit=True),
    "foreign_nf4": bitsandbytes_folder(
        "nf4", "llama", 91, load_in_4bit=True, bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype="bfloat16",
    ),
    "foreign_fp4": bitsandbytes_folder("fp4", "t5", 92, load_in_4bit=True),
    "foreign_gptq": grouped_folder(
        "gptq", "llama", 93, dict(quant_method="gptq", bits=4, group_size=128, desc_act=False,
                                  sym=True, checkpoint_format="gptq"), LLAMA_LAYERS, 128, True),
    "foreign_gptq_zeros": grouped_folder(
        "gptq_zeros", "opt", 94, dict(quant_method="gptq", bits=4, group_size=32, desc_act=False,
                                      sym=False), OPT_LAYERS, 32),
    "foreign_gptq_v2": grouped_folder(
        "gptq_v2", "t5", 95, dict(quant_method="gptq", bits=4, group_size=-1, sym=False,
                                  checkpoint_format="gptq_v2"), T5_LAYERS, None),
    "foreign_awq": grouped_folder(
        "awq", "llama", 96, dict(quant_method="awq", bits=4, group_size=64, zero_point=True,
                                 version="gemm", modules_to_not_convert=["vision_model"]),
        LLAMA_LAYERS, 64),
}
