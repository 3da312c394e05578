"""Fixtures of tests/models/modeling_{llama,opt,t5}_test.cpp: small random language models.

Each model is a folder language_models/<name>/ as the reference saves it, and
language_models/<name>.safetensors with what the reference computes from it in float32.
"""

import json
import shutil
from pathlib import Path

import torch
from transformers import (LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM, T5Config,
                          T5ForConditionalGeneration)

from common import save, seed

ROOT = "language_models"
# Rows of a batch: full; padded left; a hole in the middle and padded right.
MASK = torch.tensor([[1] * 9, [0] * 3 + [1] * 6, [1, 1, 1, 0, 0, 1, 1, 0, 0]])


def randomise(model, scale=1.2):
    """Weights so large that every tensor shows in the outputs."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            fan_in = parameter.shape[1] if "embed" not in name and "shared" not in name else 1
            parameter.data = torch.randn(parameter.shape) * scale * fan_in**-0.5
        elif name.endswith("norm.weight") or "norm" in name and name.endswith("weight"):
            parameter.data = 1 + 0.3 * torch.randn(parameter.shape)
        else:
            parameter.data = 0.4 * torch.randn(parameter.shape)


def write(folder, name, model, config_edit=None, dtype=None, weights_edit=None):
    """Saves the model, edits its config.json, and loads it again as the reference does."""
    path = Path(folder) / ROOT / name
    shutil.rmtree(path, ignore_errors=True)
    if weights_edit:
        weights_edit(model)
    model.to(dtype or torch.float32).save_pretrained(path)
    (path / "generation_config.json").unlink(missing_ok=True)
    if config_edit:
        config = json.loads((path / "config.json").read_text())
        config_edit(config)
        (path / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return type(model).from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager").eval()


def every_tensor_matters(name, model, run, without_influence=()):
    with torch.no_grad():
        before = run()
        size = before.abs().max()
        for key, parameter in model.named_parameters():
            if key.endswith(without_influence) and without_influence:
                continue
            kept = parameter.data.clone()
            parameter.data.zero_()
            change = (run() - before).abs().max() / size
            parameter.data = kept
            assert change > 1e-3, f"{name}: {key} changes the output by {change:.1e} only"


def flat(name, tensors):
    return {f"{name}.{i}": tensor for i, tensor in enumerate(tensors)}


def decoder_only_values(model, inputs_embeds_width, positions_from_mask):
    """forward over a batch, over embeddings, and as `generate` calls it."""
    vocabulary = model.config.vocab_size
    ids = torch.randint(3, vocabulary, MASK.shape)
    labels = torch.where(MASK.bool(), torch.randint(3, vocabulary, MASK.shape), -100)
    labels[0, :4] = -100
    # What a padded position predicts has no meaning.
    labels[:, 1:] = torch.where(MASK[:, :-1].bool(), labels[:, 1:], -100)
    embeds = torch.randn(1, 7, inputs_embeds_width)
    result = {"input_ids": ids, "attention_mask": MASK, "labels": labels, "inputs_embeds": embeds}
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=MASK, labels=labels, output_hidden_states=True,
                    output_attentions=True, use_cache=False)
        result |= {"logits": out.logits, "loss": out.loss}
        result |= flat("hidden_states", out.hidden_states) | flat("attentions", out.attentions)
        result["embeds.logits"] = model(inputs_embeds=embeds, use_cache=False).logits
        if not positions_from_mask:
            positions = (MASK.cumsum(1) - 1).clamp(min=0)
            result["generate.logits"] = model(
                input_ids=ids, attention_mask=MASK, position_ids=positions, use_cache=False).logits
        # Matrices rounded to bfloat16; last, as the model stays so.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data = parameter.data.bfloat16().float()
        result["bfloat16_weights.logits"] = model(
            input_ids=ids, attention_mask=MASK, use_cache=False).logits
    return result


def llama(folder, name, dtype, config_edit=None, long=False, **changes):
    sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                 num_attention_heads=4, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
                 pad_token_id=0)
    model = LlamaForCausalLM(LlamaConfig(**(sizes | changes)))
    randomise(model)
    model = write(folder, name, model, config_edit, dtype)
    values = decoder_only_values(model, model.config.hidden_size, positions_from_mask=False)
    if long:
        values = {"input_ids": torch.randint(3, model.config.vocab_size, (1, 40))}
        with torch.no_grad():
            values["logits"] = model(input_ids=values["input_ids"], use_cache=False).logits
    every_tensor_matters(name, model, lambda: model(input_ids=values["input_ids"]).logits)
    save(folder, f"{ROOT}/{name}", values)


def llama_mha(folder):
    """As Vicuna: as many key heads as query heads, and the key `rope_theta` of old files."""
    seed(101)

    def old_keys(config):
        del config["rope_parameters"]
        config["rope_theta"] = 500.0
        config["pad_token_id"] = -1

    llama(folder, "llama_mha", torch.bfloat16, old_keys)


def llama_gqa(folder):
    """Grouped heads of another width than hidden / heads, biases, tied embeddings, LLaMA 3."""
    seed(102)
    llama(folder, "llama_gqa", torch.float16, num_key_value_heads=2, head_dim=12,
          attention_bias=True, mlp_bias=True, tie_word_embeddings=True, hidden_act="gelu",
          rms_norm_eps=1e-3, rope_parameters={
              "rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 24})


ROPE_SCALING = {
    "linear": {"type": "linear", "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    "llama3": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
    "longrope": {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 16,
                 "long_factor": [1.5, 2.0, 3.0, 4.5], "short_factor": [1.0, 1.1, 1.2, 1.4]},
}


def llama_rope(folder):
    """One layer for each kind of rotary scaling, written in the old way, over 40 positions."""
    for i, (kind, scaling) in enumerate(ROPE_SCALING.items()):
        seed(110 + i)

        def old_keys(config):
            del config["rope_parameters"]
            config["rope_theta"] = 200.0
            config["rope_scaling"] = scaling

        llama(folder, f"llama_rope_{kind}", torch.bfloat16, old_keys, long=True, vocab_size=24,
              hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)


def opt(folder, name, dtype, **changes):
    sizes = dict(vocab_size=64, hidden_size=32, ffn_dim=48, num_hidden_layers=2,
                 num_attention_heads=4, max_position_embeddings=16, bos_token_id=2, eos_token_id=2,
                 pad_token_id=1)
    model = OPTForCausalLM(OPTConfig(**(sizes | changes)))
    randomise(model)
    model = write(folder, name, model, dtype=dtype)
    values = decoder_only_values(model, model.config.word_embed_proj_dim, positions_from_mask=True)
    # A bias of the keys adds the same to all scores of a query.
    every_tensor_matters(name, model, lambda: model(input_ids=values["input_ids"]).logits,
                         ("k_proj.bias",))
    save(folder, f"{ROOT}/{name}", values)


def opt_models(folder):
    seed(121)
    opt(folder, "opt", torch.float16)
    seed(122)
    opt(folder, "opt_post_norm", torch.bfloat16, do_layer_norm_before=False, word_embed_proj_dim=20,
        activation_function="gelu", tie_word_embeddings=False)
    seed(123)
    opt(folder, "opt_plain_norm", torch.float32, _remove_final_layer_norm=True, enable_bias=False,
        layer_norm_elementwise_affine=False, num_hidden_layers=1)


def t5(folder, name, dtype, config_edit=None, scale=1.2, weights_edit=None, **changes):
    sizes = dict(vocab_size=64, d_model=32, d_kv=6, d_ff=40, num_layers=2, num_decoder_layers=2,
                 num_heads=4, relative_attention_num_buckets=8, relative_attention_max_distance=12,
                 pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
    model = T5ForConditionalGeneration(T5Config(**(sizes | changes)))
    randomise(model, scale)
    for key, parameter in model.named_parameters():
        if key.endswith("relative_attention_bias.weight"):
            parameter.data = 1.5 * torch.randn(parameter.shape)
        if key.endswith(("SelfAttention.q.weight", "EncDecAttention.q.weight")):
            parameter.data *= model.config.d_kv**-0.5
    model = write(folder, name, model, config_edit, dtype, weights_edit)
    values = t5_values(model)
    every_tensor_matters(name, model, lambda: model(
        input_ids=values["input_ids"], decoder_input_ids=values["decoder_input_ids"]).logits)
    save(folder, f"{ROOT}/{name}", values)


def t5_values(model):
    ids = torch.randint(2, model.config.vocab_size, MASK.shape)
    decoder_ids = torch.randint(2, model.config.vocab_size, (3, 14))
    decoder_ids[:, 0] = 0
    decoder_mask = torch.ones_like(decoder_ids)
    decoder_mask[1, 4:6] = 0
    decoder_mask[2, 11:] = 0
    labels = torch.randint(2, model.config.vocab_size, (3, 5))
    labels[0, 3:] = -100
    labels[2, 1] = -100
    embeds = torch.randn(1, 6, model.config.d_model)
    result = {"input_ids": ids, "attention_mask": MASK, "decoder_input_ids": decoder_ids,
              "decoder_attention_mask": decoder_mask, "labels": labels, "inputs_embeds": embeds}
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=MASK, decoder_input_ids=decoder_ids,
                    decoder_attention_mask=decoder_mask, output_hidden_states=True,
                    output_attentions=True, use_cache=False)
        result |= {"logits": out.logits,
                   "encoder_last_hidden_state": out.encoder_last_hidden_state}
        for field in ("encoder_hidden_states", "encoder_attentions", "decoder_hidden_states",
                      "decoder_attentions", "cross_attentions"):
            result |= flat(field, getattr(out, field))
        out = model(input_ids=ids, attention_mask=MASK, labels=labels, use_cache=False)
        result |= {"labels.loss": out.loss, "labels.logits": out.logits}
        result["embeds.logits"] = model(inputs_embeds=embeds, decoder_input_ids=decoder_ids[:1],
                                        use_cache=False).logits
    return result


def t5_models(folder):
    seed(131)
    t5(folder, "t5", torch.float16, num_decoder_layers=3)
    seed(132)

    def flan(config):
        config["tie_word_embeddings"] = False
        config.pop("scale_decoder_outputs", None)

    # The head is a matrix of its own, which is what makes it untied.
    def own_head(model):
        model.lm_head.weight = torch.nn.Parameter(torch.randn(64, 32) * 0.3)

    t5(folder, "t5_gated", torch.bfloat16, flan, weights_edit=own_head,
       feed_forward_proj="gated-gelu", layer_norm_epsilon=1e-3)
    seed(133)

    def tied_but_not_scaled(config):
        config["tie_word_embeddings"] = True
        config["scale_decoder_outputs"] = False

    # Hidden states beyond the range of float16.
    def overflowing(model):
        for name, parameter in model.named_parameters():
            if name.endswith(("wo.weight", "encoder.block.1.layer.0.SelfAttention.o.weight")):
                parameter.data *= 40000

    t5(folder, "t5_overflow", torch.float16, tied_but_not_scaled, weights_edit=overflowing,
       feed_forward_proj="gated-silu", num_layers=2, num_decoder_layers=1)


def t5_buckets(folder):
    """Bucket of key position minus query position, which rests on a logarithm in float32."""
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = torch.arange(-1200, 1201)
    values = {"distances": distances}
    for buckets, longest in ((32, 128), (8, 12), (10, 20), (64, 1000)):
        for both in (True, False):
            values[f"{buckets}.{longest}.{'both' if both else 'causal'}"] = (
                T5Attention._relative_position_bucket(distances, both, buckets, longest)
                .to(torch.uint8))
    save(folder, f"{ROOT}/t5_buckets", values)


FIXTURES = {
    f"{ROOT}/llama_mha": llama_mha,
    f"{ROOT}/llama_gqa": llama_gqa,
    f"{ROOT}/llama_rope": llama_rope,
    f"{ROOT}/opt": opt_models,
    f"{ROOT}/t5": t5_models,
    f"{ROOT}/t5_buckets": t5_buckets,
}
