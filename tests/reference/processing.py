"""What the reference's processor makes of pictures and texts; its fixture is listed in tokenization.py,
whose folders it uses."""

import json
import shutil
import tempfile
from pathlib import Path

import common
import numpy as np
import torch

TOKENS = 5
PREPROCESSOR = {
    "image_processor_type": "BlipImageProcessor", "do_convert_rgb": True, "do_normalize": True, "do_rescale": True,
    "do_resize": True, "image_mean": [0.48, 0.45, 0.4], "image_std": [0.26, 0.25, 0.27], "resample": 3,
    "rescale_factor": 1 / 255, "size": {"height": 14, "width": 14}}  # fmt: skip
TEXTS = ["What is unusual about this image?", "the <image> dog</s> and[SEP] the cat " + "blue " * 10]
CASES = {  # as in tests/processing/processing_instructblip_test.cpp
    "longest": dict(padding=True),
    "longest_left": dict(padding=True, padding_side="left"),
    "longest_right": dict(padding=True, padding_side="right"),
    "max_length": dict(padding="max_length", max_length=120),
    "max_length_cut": dict(padding="max_length", max_length=12, truncation=True),
    "cut": dict(max_length=9, truncation=True, padding=True),
    "cut_to_nothing": dict(max_length=TOKENS + 1, truncation=True, padding=True),
    "plain": dict(padding=True, add_special_tokens=False),
    "multiple": dict(padding=True, pad_to_multiple_of=8),
}


def picture(number):
    from PIL import Image

    y, x, c = np.mgrid[0:30, 0:40, 0:3]
    return Image.fromarray(((x * 7 + y * 13 + c * 29 + number * 50) % 256).astype(np.uint8))


def make_folder(tokenization, name, target, padding_side=None):
    shutil.copytree(tokenization / name, target)
    shutil.copytree(tokenization / "bert", target / "qformer_tokenizer")
    (target / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (target / "processor_config.json").write_text(
        json.dumps({"num_query_tokens": TOKENS, "processor_class": "InstructBlipProcessor"})
    )
    if padding_side:
        path = target / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "padding_side": padding_side}))


FRAMES = 4  # the reference's number


def video_processor(folder):
    """InstructBlipVideoProcessor without its video processor, which needs torchvision, and whose
    resizing differs from Pillow's by a level or two in some pixels. The frames go through Pillow."""
    from transformers import (AddedToken, AutoTokenizer, BlipImageProcessor,
                              InstructBlipVideoProcessor)

    images = BlipImageProcessor.from_pretrained(folder)

    def frames_of(videos, return_tensors):
        frames = [images(video, return_tensors=return_tensors)["pixel_values"] for video in videos]
        return {"pixel_values": torch.stack(frames)}

    processor = InstructBlipVideoProcessor.__new__(InstructBlipVideoProcessor)
    processor.tokenizer = AutoTokenizer.from_pretrained(folder)
    processor.qformer_tokenizer = AutoTokenizer.from_pretrained(folder / "qformer_tokenizer")
    processor.video_token = AddedToken("<video>", normalized=False, special=True)
    processor.tokenizer.add_tokens([processor.video_token], special_tokens=True)
    processor.num_query_tokens, processor.video_processor = TOKENS, frames_of
    return processor


def run_cases(processor, cases, key, values, video=False):
    token = "<video>" if video else "<image>"
    values[f"{key}.{token[1:-1]}_token"] = processor.tokenizer.convert_tokens_to_ids(token)
    pictures = [picture(0), picture(1)]
    if video:
        pictures = [[picture(b * FRAMES + i) for i in range(FRAMES)] for b in range(2)]
    for case in cases:
        for images in (None, pictures):
            batch = processor(images=images, text=TEXTS, return_tensors="pt", **CASES[case])
            for part, tensor in batch.items():
                if part == "pixel_values":
                    values["pixel_values"] = tensor
                else:
                    dtype = torch.int32 if part.endswith("ids") else torch.uint8
                    kind = "text" if images is None else "images"
                    values[f"{key}.{case}.{kind}.{part}"] = tensor.to(dtype)


def processor(folder):
    from transformers import Blip2Processor, InstructBlipProcessor

    values, blip_2, video = {}, {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, side in (("llama_legacy_hub", None), ("llama", None), ("opt", None), ("t5", None), ("opt", "left")):
            target = Path(temporary) / f"{name}_{side}"
            make_folder(Path(folder) / "tokenization", name, target, side)
            key = name if side is None else f"{name}_{side}"
            run_cases(InstructBlipProcessor.from_pretrained(target), CASES, key, values)
            if name in ("opt", "t5"):
                run_cases(Blip2Processor.from_pretrained(target), CASES, key, blip_2)
            if name in ("opt", "t5") and side is None:
                run_cases(video_processor(target), CASES, key, video, video=True)
    common.save(Path(folder) / "processing", "processor", values)
    blip_2 = {name: value for name, value in blip_2.items() if name != "pixel_values"}
    common.save(Path(folder) / "processing", "processor_blip_2", blip_2)
    common.save(Path(folder) / "processing", "processor_instructblipvideo", video)
