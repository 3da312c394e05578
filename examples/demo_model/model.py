"""The demo models: InstructBLIP's classes at a hundredth of the usual width, and the processors that belong to them.

The one with a LLaMA decoder is the demo. Those with OPT and T5 decoders share its vision tower; their Q-Formers and decoders
are smaller, so that each file is 5 MB.
"""

from __future__ import annotations

import functools

import torch
from transformers import (BlipImageProcessorPil, GenerationConfig, InstructBlipConfig, InstructBlipForConditionalGeneration,
                          InstructBlipProcessor, InstructBlipQFormerConfig, LlamaConfig, OPTConfig, PreTrainedConfig, T5Config)

from scene import SIZE
from vision_stage import vision_config
from vocabulary import QUERIES, language_tokenizer, qformer_tokenizer

WIDTH = 128
DECODERS = ["llama", "opt", "t5"]


@functools.lru_cache
def processor(decoder: str) -> InstructBlipProcessor:
    return InstructBlipProcessor(
        BlipImageProcessorPil(size={"height": SIZE, "width": SIZE}),
        language_tokenizer(decoder), qformer_tokenizer(), num_query_tokens=QUERIES)


def text_config(decoder: str) -> PreTrainedConfig:
    tokenizer = processor(decoder).tokenizer
    size, ids = len(tokenizer), dict(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    if decoder == "llama":
        return LlamaConfig(vocab_size=size, hidden_size=WIDTH, intermediate_size=384, num_hidden_layers=3,
                           num_attention_heads=4, max_position_embeddings=2048,
                           bos_token_id=tokenizer.bos_token_id, **ids)
    if decoder == "opt":
        return OPTConfig(vocab_size=size, hidden_size=96, word_embed_proj_dim=96, ffn_dim=384,
                         num_hidden_layers=2, num_attention_heads=4,
                         max_position_embeddings=128, dropout=0.0, bos_token_id=tokenizer.bos_token_id, **ids)
    return T5Config(vocab_size=size, d_model=96, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=0.0,
                    feed_forward_proj="gated-gelu", tie_word_embeddings=False,
                    decoder_start_token_id=tokenizer.pad_token_id, **ids)


def config(decoder: str) -> InstructBlipConfig:
    tokenizer, qformer = processor(decoder).tokenizer, processor(decoder).qformer_tokenizer
    return InstructBlipConfig(
        vision_config=vision_config().to_dict(),
        qformer_config=InstructBlipQFormerConfig(
            vocab_size=len(qformer), hidden_size=WIDTH, num_hidden_layers=4, num_attention_heads=4,
            intermediate_size=512 if decoder == "llama" else 160,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=128, cross_attention_frequency=1,
            encoder_hidden_size=vision_config().hidden_size, pad_token_id=qformer.pad_token_id,
        ).to_dict(),
        text_config=text_config(decoder).to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )


def build(decoder: str) -> InstructBlipForConditionalGeneration:
    """Random weights. Queries have no position embeddings, so equal ones would stay equal: they start at random. T5's untied
    head starts at unit variance, which makes the first losses too large to learn from: it is scaled down.
    """
    model = InstructBlipForConditionalGeneration(config(decoder))
    with torch.no_grad():
        model.query_tokens.normal_(std=0.5)
        if decoder == "t5":
            model.language_model.lm_head.weight.mul_(0.05)
    tokenizer = processor(decoder).tokenizer
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=getattr(model.config.text_config, "decoder_start_token_id", None), max_new_tokens=64
    )
    return model
