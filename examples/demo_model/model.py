"""The demo model: InstructBLIP's classes at a hundredth of the usual width, and the processor that belongs to it."""

from __future__ import annotations

import functools

import torch
from transformers import (BlipImageProcessorPil, GenerationConfig, InstructBlipConfig, InstructBlipForConditionalGeneration,
                          InstructBlipProcessor, InstructBlipQFormerConfig, LlamaConfig)

from scene import SIZE
from vision_stage import vision_config
from vocabulary import QUERIES, language_tokenizer, qformer_tokenizer

WIDTH = 128


@functools.lru_cache(maxsize=1)
def processor() -> InstructBlipProcessor:
    return InstructBlipProcessor(
        BlipImageProcessorPil(size={"height": SIZE, "width": SIZE}), language_tokenizer(), qformer_tokenizer(), num_query_tokens=QUERIES
    )


def config() -> InstructBlipConfig:
    tokenizer, qformer = processor().tokenizer, processor().qformer_tokenizer
    return InstructBlipConfig(
        vision_config=vision_config().to_dict(),
        qformer_config=InstructBlipQFormerConfig(
            vocab_size=len(qformer), hidden_size=WIDTH, num_hidden_layers=4, num_attention_heads=4, intermediate_size=512,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=128, cross_attention_frequency=1,
            encoder_hidden_size=vision_config().hidden_size, pad_token_id=qformer.pad_token_id,
        ).to_dict(),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4,
            max_position_embeddings=2048, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ).to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )


def build() -> InstructBlipForConditionalGeneration:
    """Fresh weights. Queries carry no place of their own, so equal ones would stay equal: they start apart."""
    model = InstructBlipForConditionalGeneration(config())
    with torch.no_grad():
        model.query_tokens.normal_(std=0.5)
    tokenizer = processor().tokenizer
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=64
    )
    return model
