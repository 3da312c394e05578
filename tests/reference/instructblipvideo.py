"""Fixtures of tests/models/: tiny InstructBLIP-Video checkpoints, one per language model, and what
modeling_instructblipvideo.py computes with them."""

from pathlib import Path

import torch
from transformers import (
    InstructBlipVideoConfig,
    InstructBlipVideoForConditionalGeneration,
    InstructBlipVideoModel,
)

import blip_2
from blip_2 import prompt, run
from common import nudged, save, seed
from instructblip import (
    CAPTURE,
    IMAGE_TOKEN,
    QFORMER,
    VISION,
    base_case,
    fill,
    margin,
    with_own_head,
    write_checkpoint,
)

# The language models and odd sizes of BLIP-2's; t5 is stored in bfloat16, llama in float16.
KINDS = {
    "opt": blip_2.KINDS["opt"] | dict(vision=VISION | dict(image_size=12)),
    "t5": blip_2.KINDS["t5"],
    "llama": blip_2.KINDS["llama"] | dict(
        vision=VISION | dict(image_size=12, qkv_bias=False),
        qformer=QFORMER | dict(cross_attention_frequency=1, hidden_act="relu"),
    ),
}
NAMES = ["pixel_values", "qformer_input_ids", "qformer_attention_mask", "input_ids",
         "attention_mask"]


def make_model(kind, folder):
    seed(sorted(KINDS).index(kind) + 700)
    parts = KINDS[kind]
    config = InstructBlipVideoConfig(
        vision_config=parts["vision"], qformer_config=parts["qformer"],
        text_config=parts["text"].to_dict(), num_query_tokens=parts["queries"],
        video_token_index=IMAGE_TOKEN,
    )
    write_checkpoint(fill(InstructBlipVideoForConditionalGeneration(config)), folder)
    load = InstructBlipVideoForConditionalGeneration.from_pretrained
    if "dtype" in parts:
        write_checkpoint(load(folder, dtype=parts["dtype"]), folder)
    if kind == "t5":
        return with_own_head(folder, InstructBlipVideoForConditionalGeneration)
    return load(folder, dtype=torch.float32, attn_implementation="eager").eval()


def video_inputs(model, frames, texts, side, lengths=(6, 3, 1), size=None):
    """As the processor makes them: one row per video of `frames` frames."""
    count = len(texts)
    height, width = size or [model.config.vision_config.image_size] * 2
    ids, mask = prompt(model, texts, side, images=frames)
    return dict(
        pixel_values=torch.randn(count, frames, 3, height, width),
        qformer_input_ids=torch.randint(1, 50, (count, max(lengths[:count]))),
        qformer_attention_mask=torch.tensor(
            [[1] * n + [0] * (max(lengths) - n) for n in lengths[:count]]),
        input_ids=ids, attention_mask=mask,
    )


def forward_cases(model, store):
    """Three videos of four frames, and other numbers of frames."""
    decoder_only = model.config.use_decoder_only_language_model
    extra = {} if decoder_only else dict(decoder_input_ids=torch.tensor([[0, 7, 8]]))
    for name, frames, texts, side in (("left", 4, [7, 5, 2], "left"), ("three", 3, [4, 6], "right")):
        arguments = video_inputs(model, frames, texts, side)
        if decoder_only:
            ids, mask = arguments["input_ids"], arguments["attention_mask"]
            labels = torch.where((mask == 1) & (ids != IMAGE_TOKEN), ids, -100)
            labels[:, 1:][mask[:, :-1] == 0] = -100  # what padding would predict
            arguments["labels"] = labels
        else:
            arguments["labels"] = torch.randint(5, 95, (len(texts), 5))
        run(model, store, f"forward.{name}", arguments)
    five = {name: value for name, value in video_inputs(model, 5, [5], "left").items()
            if not name.endswith("mask")}
    run(model, store, "forward.five", five | extra)
    size = video_inputs(model, 2, [5], "left", size=(22, 17)) | extra
    store |= {f"forward.size.{key}": value for key, value in size.items()}
    store["forward.size.logits"] = model(**size, interpolate_pos_encoding=True).logits

    video = {name: store[f"forward.left.{name}"] for name in NAMES[:3]}
    features = model.get_video_features(**video, **CAPTURE)
    store["features.pooler_output"] = features.pooler_output
    store["features.last_hidden_state"] = features.last_hidden_state
    store["features.qformer_outputs.last_hidden_state"] = features.qformer_outputs.last_hidden_state
    text = {name: store[f"forward.left.{name}"] for name in NAMES[1:] + ["labels"]}
    again = model(pixel_values=None, mm_encoder_outputs={"video": features}, **text)
    assert torch.equal(again.logits, store["forward.left.logits"])


def generate_cases(model, store):
    """Ids of greedy and beam search with and without text; none may hang on rounding."""
    whole = {name: store[f"forward.left.{name}"] for name in NAMES}
    five = {name: store[f"forward.five.{name}"] for name in (NAMES[0], NAMES[1], NAMES[3])}
    other = nudged(model)
    steps = dict(return_dict_in_generate=True, output_logits=True, output_scores=True)
    beams = dict(num_beams=5, max_new_tokens=7)
    cases = {"text": whole, "five": five, "video": {name: whole[name] for name in NAMES[:3]}}
    for name, arguments in cases.items():
        greedy = model.generate(**arguments, max_new_tokens=10, **steps)
        assert margin(greedy.logits) > 1e-3, (name, margin(greedy.logits))
        store[f"generate.{name}.greedy"] = greedy.sequences
        store[f"generate.{name}.last_logits"] = greedy.logits[-1]
        output = model.generate(**arguments, **beams, **steps)
        assert torch.equal(other.generate(**arguments, **beams), output.sequences), name
        store[f"generate.{name}.beams"] = output.sequences
        store[f"generate.{name}.sequences_scores"] = output.sequences_scores
    store["generate.default"] = model.generate(**{key: value[:1] for key, value in whole.items()})


def checkpoint(kind):
    @torch.no_grad()
    def make(folder):
        root = Path(folder) / "instructblipvideo" / kind
        model = make_model(kind, root)
        store = {}
        forward_cases(model, store)
        base_case(model, store, InstructBlipVideoModel)
        generate_cases(model, store)
        store = {name: value for name, value in store.items() if "_outputs.attentions" not in name}
        save(folder, f"instructblipvideo/{kind}/expected", store)

    return make


FIXTURES = {f"instructblipvideo/{kind}": checkpoint(kind) for kind in KINDS}
