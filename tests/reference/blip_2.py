"""Fixtures of tests/models/: tiny BLIP-2 checkpoints, one per language model, and what
modeling_blip_2.py computes with them."""

from pathlib import Path

import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Model,
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Blip2VisionConfig,
    Blip2VisionModel,
    LlamaConfig,
    OPTConfig,
    T5Config,
)

import instructblip
from common import nudged, save, seed
from instructblip import (
    CAPTURE,
    IMAGE_TOKEN,
    fill,
    margin,
    states,
    with_own_head,
    write_checkpoint,
)

# An id that each model generates: as OPT's 50118, the end stands in text_config alone.
KINDS = {
    "opt": dict(
        queries=4,
        text=OPTConfig(
            vocab_size=100, hidden_size=24, ffn_dim=32, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=64, word_embed_proj_dim=24, eos_token_id=50,
        ),
        vision=instructblip.VISION,
        qformer=instructblip.QFORMER | dict(num_hidden_layers=4),
    ),
    "t5": dict(  # stored in bfloat16, of odd sizes
        queries=5, dtype=torch.bfloat16,
        text=T5Config(
            vocab_size=101, d_model=21, d_kv=7, d_ff=27, num_layers=2, num_heads=3, pad_token_id=0,
            eos_token_id=1, decoder_start_token_id=0, bos_token_id=2,
            feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        ),
        vision=dict(
            hidden_size=22, intermediate_size=33, num_hidden_layers=2, num_attention_heads=2,
            image_size=15, patch_size=5, hidden_act="quick_gelu",
        ),
        qformer=dict(
            hidden_size=18, num_hidden_layers=3, num_attention_heads=3, intermediate_size=25,
            cross_attention_frequency=2, vocab_size=50, max_position_embeddings=16,
        ),
    ),
    "llama": dict(  # stored in float16; its Q-Former can read text
        queries=3, dtype=torch.float16,
        text=LlamaConfig(
            vocab_size=100, hidden_size=24, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=64,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        ),
        vision=instructblip.VISION | dict(qkv_bias=False),
        qformer=instructblip.QFORMER | dict(
            cross_attention_frequency=1, use_qformer_text_input=True, hidden_act="relu"),
    ),
}
NAMES = ["pixel_values", "input_ids", "attention_mask"]


def make_model(kind, folder):
    seed(sorted(KINDS).index(kind) + 600)
    parts = KINDS[kind]
    config = Blip2Config(
        vision_config=parts["vision"], qformer_config=parts["qformer"],
        text_config=parts["text"].to_dict(), num_query_tokens=parts["queries"],
        image_token_index=IMAGE_TOKEN,
    )
    write_checkpoint(fill(Blip2ForConditionalGeneration(config)), folder)
    if "dtype" in parts:  # queries and Q-Former stay in float32
        stored = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=parts["dtype"])
        write_checkpoint(stored, folder)
    if kind == "t5":
        return with_own_head(folder, Blip2ForConditionalGeneration)
    return Blip2ForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def prompt(model, lengths, side, images=1):
    config = model.config
    ids, mask = instructblip.prompt(
        lengths, side, config.text_config.pad_token_id, config.text_config.bos_token_id, images=0
    )
    count = config.num_query_tokens * images
    image = torch.full((len(lengths), count), IMAGE_TOKEN)
    return torch.cat([image, ids], 1), torch.cat([torch.ones_like(image), mask], 1)


def pixels(model, count, height=None, width=None):
    side = model.config.vision_config.image_size
    return torch.randn(count, 3, height or side, width or side)


def run(model, store, name, arguments, capture=False):
    store.update({f"{name}.{key}": value for key, value in arguments.items()})
    output = model(**arguments, **(CAPTURE if capture else {}))
    store[f"{name}.logits"] = output.logits
    if output.loss is not None:
        store[f"{name}.loss"] = output.loss
    return output


def forward_cases(model, store):
    decoder_only = model.config.use_decoder_only_language_model
    for side in ("left", "right"):
        ids, mask = prompt(model, [7, 5, 2], side)
        arguments = dict(pixel_values=pixels(model, 3), input_ids=ids, attention_mask=mask)
        if decoder_only:
            labels = torch.where((mask == 1) & (ids != IMAGE_TOKEN), ids, -100)
            labels[:, 1:][mask[:, :-1] == 0] = -100  # what padding would predict
            arguments["labels"] = labels
        else:
            arguments["labels"] = torch.randint(5, 95, (3, 5))
        run(model, store, f"forward.{side}", arguments)
    extra = {} if decoder_only else dict(decoder_input_ids=torch.tensor([[0, 7, 8]]))
    ids, _ = prompt(model, [5], "left", images=2)
    run(model, store, "forward.two_images", dict(pixel_values=pixels(model, 2), input_ids=ids) | extra)
    ids, _ = prompt(model, [5], "left")
    size = dict(pixel_values=pixels(model, 1, 22, 35), input_ids=ids) | extra
    store |= {f"forward.size.{key}": value for key, value in size.items()}
    store["forward.size.logits"] = model(**size, interpolate_pos_encoding=True).logits
    features = model.get_image_features(store["forward.left.pixel_values"])
    store["features.pooler_output"] = features.pooler_output
    store["features.last_hidden_state"] = features.last_hidden_state
    store["features.vision_outputs.pooler_output"] = features.vision_outputs.pooler_output
    store["features.qformer_outputs.last_hidden_state"] = features.qformer_outputs.last_hidden_state


def base_case(folder, store):
    """Blip2Model: the same weights, and the results of its parts."""
    model = Blip2Model.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    arguments = {name: store[f"forward.left.{name}"] for name in NAMES}
    if not model.config.use_decoder_only_language_model:
        arguments["decoder_input_ids"] = torch.tensor([[0, 7, 8]] * 3)
        store["base.decoder_input_ids"] = arguments["decoder_input_ids"]
    output = model(**arguments, **CAPTURE)
    store["base.logits"] = output.logits
    store |= states("base.vision_outputs", output.vision_outputs)
    store |= states("base.qformer_outputs", output.qformer_outputs)
    queries = model.config.num_query_tokens
    ids, mask = arguments["input_ids"][:, queries:], arguments["attention_mask"][:, queries:]
    store |= {"text.input_ids": ids, "text.attention_mask": mask}
    text = model.get_text_features(input_ids=ids, attention_mask=mask, **CAPTURE)
    store |= states("text", text)
    vision = model.get_image_features(arguments["pixel_values"])
    assert torch.equal(vision.pooler_output, store["features.vision_outputs.pooler_output"])
    features = model.get_qformer_features(arguments["pixel_values"])
    assert torch.equal(features, store["features.qformer_outputs.last_hidden_state"])


def generate_cases(model, store):
    """Ids of greedy and beam search with and without text; none may hang on rounding."""
    whole = {name: store[f"forward.left.{name}"] for name in NAMES}
    other = nudged(model)
    steps = dict(return_dict_in_generate=True, output_logits=True, output_scores=True)
    beams = dict(num_beams=5, max_new_tokens=7)
    for name, arguments in {"text": whole, "image": {NAMES[0]: whole[NAMES[0]]}}.items():
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
        root = Path(folder) / "blip_2" / kind
        model = make_model(kind, root)
        store = {}
        forward_cases(model, store)
        base_case(root, store)
        generate_cases(model, store)
        save(folder, f"blip_2/{kind}/expected", store)

    return make


def qformer_cases(qformer):
    """Every combination of arguments; each case is stored with its arguments."""
    hidden, width = qformer.config.hidden_size, qformer.config.encoder_hidden_size
    embeds, image = torch.randn(3, 9, hidden), torch.randn(3, 6, width)
    text = torch.tensor([[1] * 5, [1, 1, 1, 0, 0], [1] + [0] * 4])
    ones = torch.ones(3, 4, dtype=torch.long)
    image_mask = torch.tensor([[1] * 6, [1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1]])
    whole = dict(query_embeds=embeds, query_length=4, encoder_hidden_states=image)
    query_mask = torch.cat([torch.tensor([[1, 0, 1, 1]] * 3), text], 1)
    cases = {
        "queries": dict(query_embeds=embeds, encoder_hidden_states=image),
        "both": whole,
        "right": whole | dict(attention_mask=torch.cat([ones, text], 1)),
        "left": whole | dict(attention_mask=torch.cat([ones, text.flip(1)], 1)),
        "query_mask": whole | dict(attention_mask=query_mask),
        "image_mask": dict(query_embeds=embeds, encoder_hidden_states=image,
                           encoder_attention_mask=image_mask),
        "text": dict(query_embeds=embeds[:, :5], query_length=0, attention_mask=text),
    }
    tensors = {}
    for name, arguments in cases.items():
        tensors |= {f"{name}.{key}": torch.as_tensor(value) for key, value in arguments.items()}
        tensors |= states(name, qformer(**arguments, **CAPTURE))
    return tensors


@torch.no_grad()
def parts(folder):
    """A vision model and a Q-Former in folders of their own, of other shapes."""
    seed(620)
    vision = fill(Blip2VisionModel(Blip2VisionConfig(
        hidden_size=20, intermediate_size=28, num_hidden_layers=1, num_attention_heads=2,
        image_size=12, patch_size=4, qkv_bias=False, hidden_act="gelu_pytorch_tanh",
    )))
    write_checkpoint(vision, Path(folder) / "blip_2/vision")
    values = torch.randn(2, 3, 12, 12)
    save(folder, "blip_2/vision/expected", {
        "pixel_values": values, "last_hidden_state": vision(values).last_hidden_state,
        "pooler_output": vision(values).pooler_output,
    })
    config = Blip2QFormerConfig(
        vocab_size=30, hidden_size=15, num_hidden_layers=3, num_attention_heads=3,
        intermediate_size=16, max_position_embeddings=8, cross_attention_frequency=2,
        encoder_hidden_size=13, use_qformer_text_input=True,
    )
    config._attn_implementation = "eager"
    qformer = fill(Blip2QFormerModel(config))
    write_checkpoint(qformer, Path(folder) / "blip_2/qformer")
    save(folder, "blip_2/qformer/expected", qformer_cases(qformer))


FIXTURES = {f"blip_2/{kind}": checkpoint(kind) for kind in KINDS}
FIXTURES["blip_2/parts"] = parts
