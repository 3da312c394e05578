"""Fixtures of tests/layers/: the reference's activations, norms and rotary embeddings."""

import torch
from transformers import LlamaConfig
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import (
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
)

from common import save, seed

ACTIVATIONS = [
    "gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh",
    "gelu_python_tanh", "quick_gelu", "relu", "silu", "swish", "linear",
]

SHORT = [1.0 + 0.1 * i for i in range(8)]
LONG = [1.0 + 0.5 * i for i in range(8)]
ROPE = {
    "default": {"rope_type": "default"},
    "theta": {"rope_type": "default", "rope_theta": 500000.0},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "dynamic_beyond": {"rope_type": "dynamic", "factor": 3.0},
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    "yarn_mscale": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
        "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.7,
        "truncate": False,
    },
    "longrope": {
        "rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG,
        "original_max_position_embeddings": 20,
    },
}


def activations(folder):
    x = torch.cat([torch.linspace(-12, 12, 97), torch.tensor([-100.0, 100.0, 1e-6, -1e-6])])
    save(folder, "layers/activations", {"x": x, **{name: ACT2FN[name](x) for name in ACTIVATIONS}})


def norms(folder):
    seed(2)
    x = torch.randn(3, 40) * torch.tensor([[1.0], [0.01], [30.0]]) + 2
    layer, rms = torch.nn.LayerNorm(40, eps=1e-5), LlamaRMSNorm(40, eps=1e-6)
    with torch.no_grad():
        for parameter in [layer.weight, layer.bias, rms.weight]:
            parameter.normal_()
        save(folder, "layers/norms", {
            "x": x, "layer.weight": layer.weight, "layer.bias": layer.bias, "layer.y": layer(x),
            "rms.weight": rms.weight, "rms.y": rms(x),
        })


def rotary(folder):
    seed(3)
    x = torch.randn(1, 2, 24, 16)
    positions = torch.arange(24)[None]
    tensors = {"x": x[0].transpose(0, 1).reshape(24, 32)}
    for name, parameters in ROPE.items():
        config = LlamaConfig(
            hidden_size=32, num_attention_heads=2,
            max_position_embeddings=20 if name == "dynamic_beyond" else 128,
            rope_parameters={"rope_theta": 10000.0, **parameters},
        )
        embedding = LlamaRotaryEmbedding(config)
        for count in [16, 24]:  # longrope and dynamic_beyond change beyond 20
            cos, sin = embedding(x, positions[:, :count])
            rotated, _ = apply_rotary_pos_emb(x[:, :, :count], x[:, :, :count], cos, sin)
            tensors[f"{name}.{count}"] = rotated[0].transpose(0, 1).reshape(count, 32)
        tensors[f"{name}.inv_freq"] = embedding.original_inv_freq
        tensors[f"{name}.scaling"] = torch.tensor([float(embedding.attention_scaling)])
    save(folder, "layers/rotary", tensors)


FIXTURES = {
    "layers/activations": activations,
    "layers/norms": norms,
    "layers/rotary": rotary,
}
