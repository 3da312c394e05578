"""What the modules of this folder share: versions, seeds, and fixtures as safetensors files."""

import copy
import json
import random
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors import torch as safetensors

VERSIONS = {
    "torch": "2.13.0", "transformers": "5.24.0", "tokenizers": "0.23.3", "pillow": "13.0.0",
    "peft": "0.21.2", "compressed-tensors": "0.20.1",
    "bitsandbytes": "0.50.2", "accelerate": "1.15.0",
}


def seed(value):
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def nudged(model):
    """The same model with weights that differ in the sixth digit."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1 + 1e-5 * torch.randn_like(parameter))
    return other


def quiet():
    """No warnings from here on: those of the reference are not what a fixture is about."""
    from transformers import logging

    warnings.simplefilter("ignore")
    logging.set_verbosity_error()


def text(value):
    """A text as a uint8 tensor; C++: fixture.text(name)."""
    return torch.tensor(list(value.encode("utf-8", "surrogatepass")), dtype=torch.uint8)


def texts(name, values):
    """A list of texts as two tensors to merge into a fixture; C++: fixture.texts(name)."""
    encoded = [value.encode("utf-8", "surrogatepass") for value in values]
    offsets = np.cumsum([0] + [len(value) for value in encoded])
    return {
        name: torch.tensor(list(b"".join(encoded)), dtype=torch.uint8),
        f"{name}.offsets": torch.tensor(offsets, dtype=torch.int64),
    }


def ids(lists, name):
    """Lists of ids of different lengths as two tensors: all values, and where each list begins."""
    offsets = np.cumsum([0] + [len(values) for values in lists])
    return {
        name: torch.tensor([value for values in lists for value in values], dtype=torch.int64),
        f"{name}.offsets": torch.tensor(offsets, dtype=torch.int64),
    }


def save(folder, name, tensors, metadata=None):
    """Writes <folder>/<name>.safetensors from torch tensors, arrays, numbers, texts or bytes."""
    path = Path(folder) / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    converted = {}
    for key, value in tensors.items():
        if isinstance(value, bytes):
            value = torch.tensor(list(value), dtype=torch.uint8)
        elif isinstance(value, str):
            value = text(value)
        elif not isinstance(value, torch.Tensor):
            value = torch.from_numpy(np.array(value))
        converted[key] = value.detach().contiguous().clone()
    metadata = {key: str(value) for key, value in (metadata or {}).items()}
    path.write_bytes(metadata_sorted(safetensors.save(converted, metadata=metadata or None)))


def metadata_sorted(file):
    """The same file: safetensors writes the metadata in the order of a hash map, anew each time."""
    size = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + size])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
    assert len(text) == size
    return file[:8] + text + file[8 + size :]
