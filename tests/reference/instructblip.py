"""Fixtures of tests/models/: tiny InstructBLIP checkpoints, one per language model, and what
modeling_instructblip.py computes with them."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipModel,
    InstructBlipQFormerConfig,
    InstructBlipQFormerModel,
    InstructBlipVideoConfig,
    InstructBlipVideoForConditionalGeneration,
    InstructBlipVisionConfig,
    InstructBlipVisionModel,
    LlamaConfig,
    OPTConfig,
    T5Config,
)

from common import nudged, save, seed

IMAGE_TOKEN = 99
QUERIES = 4

VISION = dict(
    hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
    image_size=16, patch_size=4,
)
QFORMER = dict(
    vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=20, max_position_embeddings=16, cross_attention_frequency=2,
)
T5 = dict(
    vocab_size=100, d_model=20, d_kv=8, d_ff=28, num_layers=2, num_heads=3, pad_token_id=0,
    eos_token_id=1, decoder_start_token_id=0, bos_token_id=0,
)
KINDS = {
    "opt": dict(
        text=OPTConfig(
            vocab_size=100, hidden_size=24, ffn_dim=32, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=64, word_embed_proj_dim=24,
        ),
        vision=VISION | dict(
            hidden_size=24, intermediate_size=32, num_hidden_layers=3, num_attention_heads=3
        ),
        qformer=QFORMER | dict(num_hidden_layers=4),
    ),
    "llama": dict(
        text=LlamaConfig(
            vocab_size=100, hidden_size=24, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=64,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        ),
    ),
    "t5": dict(
        text=T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
        vision=VISION | dict(hidden_act="quick_gelu"),
    ),
    "t5_relu": dict(
        text=T5Config(**T5, feed_forward_proj="relu"),
        vision=VISION | dict(qkv_bias=False),
    ),
}


def fill(model):
    """Weights so large that every tensor shows in the outputs."""
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = torch.randn(parameter.shape)
            lower = name.lower()
            if "norm" in lower and parameter.dim() == 1:
                values = values * 0.2 + (0.0 if name.endswith("bias") else 1.0)
            elif name.endswith("bias"):
                values = values * 0.3
            elif "patch_embedding" in name:
                values = values / parameter[0].numel() ** 0.5
            elif "Attention.q." in name:
                values = values * 0.5 / parameter.shape[1] ** 0.5
            elif parameter.dim() == 2 and "embed" not in name and "shared" not in name:
                values = values * 1.4 / parameter.shape[1] ** 0.5
            parameter.copy_(values)
    return model.eval()


def make_model(kind):
    seed(sorted(KINDS).index(kind) + 20)
    parts = KINDS[kind]
    config = InstructBlipConfig(
        vision_config=parts.get("vision", VISION), qformer_config=parts.get("qformer", QFORMER),
        text_config=parts["text"].to_dict(), num_query_tokens=QUERIES, image_token_index=IMAGE_TOKEN,
    )
    config._attn_implementation = "eager"
    return fill(InstructBlipForConditionalGeneration(config))


def write_checkpoint(model, folder):
    """config.json and model.safetensors as the reference writes them, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    for path in folder.iterdir():
        if path.name != "config.json" and path.suffix != ".safetensors":
            path.unlink()


def with_own_head(folder, model_class=InstructBlipForConditionalGeneration):
    """Whether a T5 is tied is decided by the file alone: one with an lm_head is not."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    shared = tensors["language_model.shared.weight"]
    head = torch.randn(shared.shape) * 1.4 / shared.shape[1] ** 0.5
    tensors["language_model.lm_head.weight"] = head.to(shared.dtype)
    save_file(tensors, path, metadata={"format": "pt"})
    return model_class.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def states(prefix, output):
    """The tensors of an output structure, tuples numbered: prefix.hidden_states.0, ..."""
    tensors = {}
    for name, value in output.items():
        if isinstance(value, torch.Tensor):
            tensors[f"{prefix}.{name}"] = value
        elif isinstance(value, tuple):
            for i, tensor in enumerate(value):
                if isinstance(tensor, torch.Tensor):
                    tensors[f"{prefix}.{name}.{i}"] = tensor
    return tensors


CAPTURE = dict(output_hidden_states=True, output_attentions=True)


def vision_cases(vision):
    """pixel_values -> outputs; sizes other than the trained one with interpolated positions."""
    pixels = torch.randn(2, 3, 16, 16)
    tensors = {"vision.pixel_values": pixels}
    tensors |= states("vision", vision(pixels, **CAPTURE))
    for height, width in [(24, 16), (13, 22), (8, 8), (32, 8), (17, 17), (20, 37)]:
        name = f"vision.{height}x{width}"
        pixels = torch.randn(1, 3, height, width)
        tensors[f"{name}.pixel_values"] = pixels
        output = vision(pixels, interpolate_pos_encoding=True)
        tensors[f"{name}.last_hidden_state"] = output.last_hidden_state
    tensors["vision.32x8.plain.last_hidden_state"] = vision(
        tensors["vision.32x8.pixel_values"]
    ).last_hidden_state
    return tensors


def qformer_cases(qformer):
    """Every combination of arguments; each case is stored with its arguments."""
    hidden, width = qformer.config.hidden_size, qformer.config.encoder_hidden_size
    queries, image = torch.randn(3, QUERIES, hidden), torch.randn(3, 5, width)
    ids = torch.randint(1, 50, (3, 6))
    right = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] + [0] * 5])
    ones = torch.ones(3, QUERIES, dtype=torch.long)
    image_mask = torch.tensor([[1] * 5, [1, 0, 1, 1, 0], [0, 0, 0, 0, 1]])
    positions = torch.tensor([[3, 1, 4, 1, 5, 9]])
    query_mask = torch.cat([torch.tensor([[1, 0, 1, 1]] * 3), right], 1)
    whole = dict(input_ids=ids, query_embeds=queries, encoder_hidden_states=image)
    cases = {
        "text": whole,
        "right": whole | dict(attention_mask=torch.cat([ones, right], 1)),
        "left": whole | dict(attention_mask=torch.cat([ones, right.flip(1)], 1)),
        "hole": whole | dict(attention_mask=torch.tensor([[1] * 4 + [1, 0, 1, 1, 0, 1]] * 3)),
        "query_mask": whole | dict(attention_mask=query_mask),
        "image_mask": whole | dict(encoder_attention_mask=image_mask),
        "positions": whole | dict(position_ids=positions.expand(3, 6)),
        "query_only": dict(input_ids=None, query_embeds=queries, encoder_hidden_states=image),
        "text_only": dict(input_ids=ids, attention_mask=right),
        "one_image": whole | dict(encoder_hidden_states=image[:1],
                                  encoder_attention_mask=image_mask[1:2]),
        "one_image_query_only": dict(input_ids=None, query_embeds=queries,
                                     encoder_hidden_states=image[:1]),
    }
    tensors = {}
    for name, arguments in cases.items():
        for key, value in arguments.items():
            if value is not None:
                tensors[f"qformer.{name}.{key}"] = value
        capture = CAPTURE if name in ("right", "query_only", "text_only") else {}
        tensors |= states(f"qformer.{name}", qformer(**arguments, **capture))
    return tensors


def prompt(lengths, side, pad, bos, images=1):
    """Placeholders, then each text padded on one side, as the processor lays them out."""
    longest = max(lengths)
    ids, mask = [], []
    for length in lengths:
        words = [bos] + torch.randint(5, 95, (length - 1,)).tolist()
        gap = longest - length
        text = [pad] * gap + words if side == "left" else words + [pad] * gap
        valid = [0] * gap + [1] * length if side == "left" else [1] * length + [0] * gap
        ids.append([IMAGE_TOKEN] * QUERIES * images + text)
        mask.append([1] * QUERIES * images + valid)
    return torch.tensor(ids), torch.tensor(mask)


def image_inputs(count, lengths=(6, 4, 1)):
    ids = torch.randint(1, 50, (count, max(lengths)))
    mask = torch.tensor([[1] * n + [0] * (max(lengths) - n) for n in lengths[:count]])
    return dict(
        pixel_values=torch.randn(count, 3, 16, 16), qformer_input_ids=ids,
        qformer_attention_mask=mask,
    )


def features_case(model, store, arguments, output):
    """get_image_features; what it gives instead of pixels, and embeddings instead of ids, change no logit."""
    features = model.get_image_features(
        **{key: arguments[key] for key in image_inputs(3)}, **CAPTURE
    )
    store["features.pooler_output"] = features.pooler_output
    store["features.last_hidden_state"] = features.last_hidden_state
    store["features.vision_outputs.pooler_output"] = features.vision_outputs.pooler_output
    store["features.qformer_outputs.last_hidden_state"] = (
        features.qformer_outputs.last_hidden_state
    )
    again = model(
        **{k: v for k, v in arguments.items() if k != "pixel_values"}, pixel_values=None,
        mm_encoder_outputs={"image": features},
    )
    assert torch.equal(again.logits, output.logits)
    embeds = model.get_input_embeddings()(arguments["input_ids"])
    again = model(
        **{k: v for k, v in arguments.items() if k != "input_ids"}, inputs_embeds=embeds
    )
    assert torch.equal(again.logits, output.logits)


def forward_cases(model, store):
    """forward with either padding, labels, several images; arguments are stored with each case."""
    config = model.config.text_config
    decoder_only = model.config.use_decoder_only_language_model
    pad, bos = config.pad_token_id, config.bos_token_id

    def run(name, arguments, capture=False):
        for key, value in arguments.items():
            store[f"{name}.{key}"] = value
        output = model(**arguments, **(CAPTURE if capture else {}))
        store[f"{name}.logits"] = output.logits
        if output.loss is not None:
            store[f"{name}.loss"] = output.loss
        if capture:
            store.update(states(f"{name}.language_model", output.language_model_outputs))
            store.pop(f"{name}.language_model.logits", None)
            store.pop(f"{name}.language_model.loss", None)
        return output

    for side in ("left", "right"):
        ids, mask = prompt([7, 5, 2], side, pad, bos)
        arguments = image_inputs(3) | dict(input_ids=ids, attention_mask=mask)
        if decoder_only:
            labels = torch.where((mask == 1) & (ids != IMAGE_TOKEN), ids, -100)
            labels[:, 1:][mask[:, :-1] == 0] = -100  # what padding would predict
            arguments["labels"] = labels
        else:
            labels = torch.randint(5, 95, (3, 5))
            labels[1, 3:] = -100
            if side == "left":
                arguments["labels"] = labels
            else:
                arguments["decoder_input_ids"] = torch.randint(5, 95, (3, 4))
                arguments["decoder_attention_mask"] = torch.tensor([[1] * 4, [1, 1, 0, 0], [1] * 4])
        output = run(f"forward.{side}", arguments, capture=side == "left")
        if side == "left":
            features_case(model, store, arguments, output)

    ids, _ = prompt([5], "left", pad, bos)
    extra = {} if decoder_only else dict(decoder_input_ids=torch.tensor([[0, 7, 8]]))
    plain = image_inputs(1, [6]) | dict(input_ids=ids) | extra
    del plain["qformer_attention_mask"]
    run("forward.no_masks", plain)

    ids, mask = prompt([5], "left", pad, bos, images=2)
    run("forward.two_images", image_inputs(2, [3, 3]) | dict(input_ids=ids) | extra)

    video_case(model, store, extra)


def video_case(model, store, extra):
    """Four frames through the reference's video model."""
    frames = torch.randn(1, 4, 3, 16, 16)
    config = model.config.text_config
    ids, _ = prompt([5], "left", config.pad_token_id, config.bos_token_id, images=4)
    qformer_ids = torch.randint(1, 50, (1, 3))
    store["video.pixel_values"] = frames
    store["video.qformer_input_ids"], store["video.input_ids"] = qformer_ids, ids
    if extra:
        store["video.decoder_input_ids"] = extra["decoder_input_ids"]
    output = video_model(model)(
        pixel_values=frames, qformer_input_ids=qformer_ids, input_ids=ids, **extra
    )
    store["video.logits"] = output.logits


def video_model(model):
    config = json.loads(model.config.to_json_string(use_diff=False))
    config["video_token_index"] = config.pop("image_token_index")
    for key in ("model_type", "architectures"):
        config.pop(key, None)
    config = InstructBlipVideoConfig(**config)
    config._attn_implementation = "eager"
    video = InstructBlipVideoForConditionalGeneration(config)
    head = video.language_model.lm_head
    head.weight = torch.nn.Parameter(head.weight.clone())  # not tied, so that each is loaded
    missing, unexpected = video.load_state_dict(model.state_dict(), strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    return video.eval()


def base_case(model, store, model_class=InstructBlipModel):
    """InstructBlipModel: the same weights without the language model's head."""
    base = model_class(model.config).eval()
    weights = {
        name.replace("language_model.model.", "language_model."): tensor
        for name, tensor in model.state_dict().items()
    }
    missing, unexpected = base.load_state_dict(weights, strict=False)
    assert not missing and all("lm_head" in name for name in unexpected), (missing, unexpected)
    names = ["pixel_values", "qformer_input_ids", "qformer_attention_mask", "input_ids",
             "attention_mask"]
    arguments = {name: store[f"forward.left.{name}"] for name in names}
    if not model.config.use_decoder_only_language_model:
        arguments["decoder_input_ids"] = torch.tensor([[0, 7, 8]] * 3)
        store["base.decoder_input_ids"] = arguments["decoder_input_ids"]
    output = base(**arguments, **CAPTURE)
    store["base.last_hidden_state"] = output.language_model_outputs.last_hidden_state
    store.update(states("base.vision_outputs", output.vision_outputs))
    store.update(states("base.qformer_outputs", output.qformer_outputs))


def margin(scores):
    top = torch.stack(scores).topk(2).values
    return (top[..., 0] - top[..., 1]).min().item()


def pair_case(model, store):
    """Two rows of two images each. The features of a row's second image follow the first one's."""
    config = model.config.text_config
    with torch.random.fork_rng():  # the other cases stay what they are
        torch.manual_seed(17)
        ids, mask = prompt([5, 3], "left", config.pad_token_id, config.bos_token_id, images=2)
        arguments = image_inputs(4, [3, 6, 2, 4]) | dict(input_ids=ids, attention_mask=mask)
    for key, value in arguments.items():
        store[f"pairs.{key}"] = value
    output = model.generate(
        **arguments, max_new_tokens=8, return_dict_in_generate=True, output_logits=True
    )
    assert margin(output.logits) > 1e-3, margin(output.logits)
    store["pairs.greedy"], store["pairs.last_logits"] = output.sequences, output.logits[-1]


def generate_cases(model, store):
    """Ids of greedy and beam search; seeds with near-ties are passed over."""
    config = model.config.text_config
    names = ["pixel_values", "qformer_input_ids", "qformer_attention_mask", "input_ids",
             "attention_mask"]
    arguments = {name: store[f"forward.left.{name}"] for name in names}
    greedy = model.generate(
        **arguments, max_new_tokens=8, return_dict_in_generate=True, output_logits=True
    )
    assert margin(greedy.logits) > 1e-3, margin(greedy.logits)
    store["generate.greedy"] = greedy.sequences
    store["generate.greedy.last_logits"] = greedy.logits[-1]
    beams = dict(num_beams=3, max_new_tokens=6, length_penalty=0.7, repetition_penalty=1.3)
    output = model.generate(
        **arguments, **beams, return_dict_in_generate=True, output_scores=True
    )
    store["generate.beams"] = output.sequences
    store["generate.beams.sequences_scores"] = output.sequences_scores
    again = nudged(model).generate(**arguments, **beams)
    assert torch.equal(again, output.sequences), "beam search hangs on rounding"
    single = {name: value[:1] for name, value in arguments.items()}
    store["generate.default"] = model.generate(**single)
    if model.config.use_decoder_only_language_model:
        single.pop("input_ids"), single.pop("attention_mask")
        store["generate.without_text"] = model.generate(**single, max_new_tokens=4)
        embeds = model.get_input_embeddings()(arguments["input_ids"])
        rest = {name: value for name, value in arguments.items() if name != "input_ids"}
        store["generate.embeds"] = model.generate(**rest, inputs_embeds=embeds, max_new_tokens=8)
    assert config.eos_token_id is not None


def checkpoint(kind):
    @torch.no_grad()
    def make(folder):
        name = f"instructblip/{kind}"
        model = make_model(kind)
        write_checkpoint(model, Path(folder) / name)
        if kind == "t5":
            model = with_own_head(Path(folder) / name)
        store = {}
        if kind == "opt":
            store |= vision_cases(model.vision_model) | qformer_cases(model.qformer)
        forward_cases(model, store)
        base_case(model, store)
        generate_cases(model, store)
        pair_case(model, store)
        save(folder, f"{name}/expected", store)

    return make


@torch.no_grad()
def parts(folder):
    """A vision model and a Q-Former in folders of their own, of other shapes."""
    seed(40)
    config = InstructBlipVisionConfig(
        hidden_size=20, intermediate_size=28, num_hidden_layers=1, num_attention_heads=2,
        image_size=12, patch_size=4, qkv_bias=False, hidden_act="gelu_pytorch_tanh",
    )
    vision = fill(InstructBlipVisionModel(config))
    write_checkpoint(vision, Path(folder) / "instructblip/vision")
    pixels = torch.randn(2, 3, 12, 12)
    save(folder, "instructblip/vision/expected", {
        "pixel_values": pixels, "last_hidden_state": vision(pixels).last_hidden_state,
        "pooler_output": vision(pixels).pooler_output,
    })
    config = InstructBlipQFormerConfig(
        vocab_size=30, hidden_size=12, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=8, cross_attention_frequency=1,
        encoder_hidden_size=12, hidden_act="relu",
    )
    qformer = fill(InstructBlipQFormerModel(config))
    write_checkpoint(qformer, Path(folder) / "instructblip/qformer")
    arguments = dict(
        input_ids=torch.randint(1, 30, (1, 8)), query_embeds=torch.randn(1, 2, 12),
        encoder_hidden_states=torch.randn(1, 3, 12),
    )
    output = qformer(**arguments)
    save(folder, "instructblip/qformer/expected",
         arguments | {"last_hidden_state": output.last_hidden_state})


FIXTURES = {f"instructblip/{kind}": checkpoint(kind) for kind in KINDS}
FIXTURES["instructblip/parts"] = parts
