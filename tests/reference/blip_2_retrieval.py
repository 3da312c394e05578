"""Fixtures of tests/models/modeling_blip_2_retrieval_test.cpp: tiny BLIP-2 models that compare images
and texts, and what modeling_blip_2.py computes with them."""

import json
from pathlib import Path

import torch
from transformers import (
    Blip2Config,
    Blip2ForImageTextRetrieval,
    Blip2TextModelWithProjection,
    Blip2VisionModelWithProjection,
)

import instructblip
from common import save, seed
from instructblip import CAPTURE, fill, states, write_checkpoint

IMAGE_TOKEN = 49
KINDS = {
    "contrast": dict(  # with image placeholders, of odd sizes
        queries=3, width=7, image_token=IMAGE_TOKEN,
        vision=dict(
            hidden_size=22, intermediate_size=33, num_hidden_layers=2, num_attention_heads=2,
            image_size=15, patch_size=5, hidden_act="quick_gelu",
        ),
        qformer=dict(
            hidden_size=18, num_hidden_layers=3, num_attention_heads=3, intermediate_size=25,
            cross_attention_frequency=2, vocab_size=IMAGE_TOKEN, max_position_embeddings=16,
        ),
    ),
    "bfloat16": dict(  # an older folder: no placeholders, and the older spelling of a key
        queries=4, width=12, image_token=None, dtype=torch.bfloat16, vision=instructblip.VISION,
        qformer=instructblip.QFORMER | dict(num_hidden_layers=4),
    ),
    "float16": dict(
        queries=2, width=5, image_token=IMAGE_TOKEN, dtype=torch.float16,
        vision=instructblip.VISION | dict(qkv_bias=False),
        qformer=instructblip.QFORMER | dict(cross_attention_frequency=1, hidden_act="relu"),
    ),
}
SAME = 2e-6  # closer similarities are not told apart


def make_model(kind, folder):
    seed(sorted(KINDS).index(kind) + 640)
    parts = KINDS[kind]
    config = Blip2Config(
        vision_config=parts["vision"],
        qformer_config=parts["qformer"] | dict(use_qformer_text_input=True),
        num_query_tokens=parts["queries"], image_text_hidden_size=parts["width"],
        image_token_index=parts["image_token"],
    )
    write_checkpoint(fill(Blip2ForImageTextRetrieval(config)), folder)
    if "dtype" in parts:  # queries and Q-Former stay in float32
        stored = Blip2ForImageTextRetrieval.from_pretrained(folder, dtype=parts["dtype"])
        write_checkpoint(stored, folder)
    return Blip2ForImageTextRetrieval.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def use_old_spelling(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    qformer = config["qformer_config"]
    qformer["qformer_text_input"] = qformer.pop("use_qformer_text_input")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def texts(model, lengths):
    """Ids and their mask as Blip2Processor makes them: placeholders, if the model has a token for
    them, then text, padded on the right."""
    length = max(lengths)
    ids = torch.randint(5, 45, (len(lengths), length))
    mask = torch.zeros_like(ids)
    for row, count in enumerate(lengths):
        mask[row, :count] = 1
        ids[row, count:] = 0
    if model.config.image_token_index is None:
        return ids, mask
    image = torch.full((len(lengths), model.config.num_query_tokens), IMAGE_TOKEN)
    return torch.cat([image, ids], 1), torch.cat([torch.ones_like(image), mask], 1)


def pixels(model, count):
    side = model.config.vision_config.image_size
    return torch.randn(count, 3, side, side)


def run(model, store, name, **arguments):
    tensors = {key: value for key, value in arguments.items() if torch.is_tensor(value)}
    store.update({f"{name}.{key}": value for key, value in tensors.items()})
    output = model(**arguments)
    for key in ("logits_per_image", "logits_per_text", "text_embeds", "image_embeds"):
        store[f"{name}.{key}"] = output[key]
    return output


def many(model, store):
    """The similarities of 200 images, none of which lies nearer than SAME to another one for any of
    20 texts."""
    ids, mask = texts(model, [2 + i % 9 for i in range(20)])
    images = pixels(model, 300).to(torch.float16).float()  # stored in half the bytes
    scores = model(pixel_values=images, input_ids=ids, attention_mask=mask).logits_per_image
    chosen = []
    for i in range(len(images)):
        if all(((scores[i] - scores[j]).abs() > SAME).all() for j in chosen):
            chosen.append(i)
    chosen = chosen[:200]
    assert len(chosen) == 200
    store |= {
        "many.pixel_values": images[chosen].to(torch.float16), "many.input_ids": ids,
        "many.attention_mask": mask, "many.logits_per_image": scores[chosen],
    }


def checkpoint(kind):
    @torch.no_grad()
    def make(folder):
        root = Path(folder) / "blip_2_retrieval" / kind
        model = make_model(kind, root)
        store = {}
        images = pixels(model, 3)
        ids, mask = texts(model, [7, 5, 2])
        three = dict(pixel_values=images, input_ids=ids, attention_mask=mask)
        run(model, store, "contrast", **three)
        output = run(model, store, "matching", **three, use_image_text_matching_head=True, **CAPTURE)
        store |= states("matching.vision_model_output", output.vision_model_output)
        ids, mask = texts(model, [3, 9])
        run(model, store, "one_image", pixel_values=images[:1], input_ids=ids, attention_mask=mask)
        if kind == "contrast":
            many(model, store)
        skip = model.config.num_query_tokens if model.config.image_token_index is not None else 0
        plain = dict(dtype=torch.float32, attn_implementation="eager")
        text = Blip2TextModelWithProjection.from_pretrained(root, **plain).eval()
        words = dict(input_ids=ids[:, skip:], attention_mask=mask[:, skip:])
        store |= {f"text.{key}": value for key, value in words.items()}
        output = text(**words, **CAPTURE)
        store |= states("text", output) | {"text.text_embeds": output.text_embeds}
        positions = torch.arange(9).flip(0)[None]
        store["text.position_ids"] = positions
        store["text.placed"] = text(**words, position_ids=positions).text_embeds
        vision = Blip2VisionModelWithProjection.from_pretrained(root, **plain).eval()
        output = vision(images, **CAPTURE)
        store |= states("vision", output) | {"vision.image_embeds": output.image_embeds}
        save(folder, f"blip_2_retrieval/{kind}/expected", store)
        if model.config.image_token_index is None:
            use_old_spelling(root)

    return make


FIXTURES = {f"blip_2_retrieval/{kind}": checkpoint(kind) for kind in KINDS}
