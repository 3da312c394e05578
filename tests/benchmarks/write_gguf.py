"""Writes the LLaMA of an InstructBLIP folder as a GGUF file without a vocabulary, for llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import gguf.quants
import torch
from safetensors import safe_open

BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OTHERS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
TYPES = {"float32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
         "bfloat16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
         "Q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
         "Q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0)}


def gguf_name(name: str) -> str:
    """That of language_model.`name`.weight."""
    parts = name.split(".", 3)
    if parts[:2] == ["model", "layers"]:
        return f"blk.{parts[2]}.{BLOCK[parts[3]]}.weight"
    return OTHERS[name] + ".weight"


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a head in GGUF's order: it rotates neighbours, transformers the halves of a head."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def write_gguf(folder: Path, file: Path, weights: str) -> None:
    """`weights`: a key of TYPES, the type of the matrices."""
    config = json.loads((folder / "config.json").read_text())["text_config"]
    if config["model_type"] != "llama":
        raise SystemExit(f"{folder}: the language model is of type {config['model_type']}, expected llama")
    heads = config["num_attention_heads"]
    key_heads = config.get("num_key_value_heads") or heads
    matrix_type, file_type = TYPES[weights]

    writer = gguf.GGUFWriter(file, "llama", use_temp_file=True)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(file_type)
    writer.add_tokenizer_model("no_vocab")
    prefix, suffix = "language_model.", ".weight"
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, "pt") as tensors:
            for name in tensors.keys():
                if not name.startswith(prefix):
                    continue
                layer = name.removeprefix(prefix).removesuffix(suffix)
                value = tensors.get_tensor(name)
                if layer.endswith("q_proj"):
                    value = interleaved(value, heads)
                elif layer.endswith("k_proj"):
                    value = interleaved(value, key_heads)
                values = value.float().contiguous().numpy()
                if value.dim() == 1:
                    writer.add_tensor(gguf_name(layer), values)
                else:
                    writer.add_tensor(gguf_name(layer), gguf.quants.quantize(values, matrix_type), raw_dtype=matrix_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
