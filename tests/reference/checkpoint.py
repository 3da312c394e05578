"""Fixtures of tests/checkpoint/: files as the `safetensors` package writes them."""

import torch

from common import save, seed, text, texts


def types(folder):
    seed(1)
    values = torch.arange(6, dtype=torch.float32).reshape(2, 3) - 2.5
    save(folder, "checkpoint/types", {
        "float32": values,
        "float16": values.half(),
        "bfloat16": values.bfloat16(),
        "int64": torch.tensor([-1, 2**40], dtype=torch.int64),
        "int32": torch.tensor([[-7], [7]], dtype=torch.int32),
        "uint8": torch.tensor([0, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "float64": torch.tensor([1.0], dtype=torch.float64),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "text": text("a dog’s 犬 🐕"),
        **texts("texts", ["", "two", "drei ß", ""]),
    }, {"made_by": "safetensors"})


FIXTURES = {"checkpoint/types": types}
