"""Fixtures of tests/configuration/: what each configuration class makes of a file."""

import json

from transformers import (
    Blip2Config,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    InstructBlipConfig,
    InstructBlipQFormerConfig,
    InstructBlipVideoConfig,
    InstructBlipVideoQFormerConfig,
    InstructBlipVideoVisionConfig,
    InstructBlipVisionConfig,
    LlamaConfig,
    OPTConfig,
    T5Config,
)

from common import save, texts

VICUNA = {
    "_commit_hash": None,
    "architectures": ["InstructBlipForConditionalGeneration"],
    "model_type": "instructblip",
    "num_query_tokens": 32,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "torch_dtype": "float32",
    "use_decoder_only_language_model": False,
    "tie_word_embeddings": False,
    "qformer_config": {
        "add_cross_attention": False, "attention_probs_dropout_prob": 0.1, "bad_words_ids": None,
        "begin_suppress_tokens": None, "classifier_dropout": None,
        "cross_attention_frequency": 2, "diversity_penalty": 0.0, "do_sample": False,
        "early_stopping": False, "encoder_hidden_size": 999, "encoder_no_repeat_ngram_size": 0,
        "hidden_act": "gelu", "length_penalty": 1.0, "max_length": 20, "min_length": 0,
        "model_type": "instructblip_qformer", "num_beam_groups": 1, "num_beams": 1,
        "num_return_sequences": 1, "pad_token_id": 0, "position_embedding_type": "absolute",
        "repetition_penalty": 1.0, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0,
        "vocab_size": 30523,
    },
    "text_config": {
        "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 1,
        "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
        "intermediate_size": 11008, "max_position_embeddings": 2048, "max_length": 20,
        "model_type": "llama", "num_attention_heads": 32, "num_beams": 5, "num_hidden_layers": 32,
        "pad_token_id": 32000, "rms_norm_eps": 1e-06, "suppress_tokens": None,
        "tie_word_embeddings": False, "torch_dtype": "float16", "use_cache": True,
        "vocab_size": 32001,
    },
    "vision_config": {
        "attention_dropout": 0.0, "dropout": 0.0, "hidden_act": "gelu", "hidden_size": 1408,
        "image_size": 224, "initializer_factor": 1.0, "initializer_range": 1e-10,
        "intermediate_size": 6144, "layer_norm_eps": 1e-06, "max_length": 20,
        "model_type": "instructblip_vision_model", "num_attention_heads": 16, "num_beams": 1,
        "num_channels": 3, "num_hidden_layers": 39, "patch_size": 14, "qkv_bias": True,
    },
}

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}

CASES = {
    "vision": (InstructBlipVisionConfig, [
        {},
        {"hidden_size": 48, "num_attention_heads": 4, "image_size": 30, "patch_size": 5,
         "qkv_bias": False, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
         "extra": {"a": [1]}},
    ]),
    "qformer": (InstructBlipQFormerConfig, [
        {},
        {"hidden_size": 40, "num_attention_heads": 4, "num_hidden_layers": 3, "vocab_size": 99,
         "cross_attention_frequency": 1, "encoder_hidden_size": 48, "pad_token_id": None,
         "hidden_dropout_prob": 0.25, "num_beams": 4},
    ]),
    "opt": (OPTConfig, [
        {},
        {"hidden_size": 32, "num_attention_heads": 4, "word_embed_proj_dim": 16,
         "do_layer_norm_before": False, "_remove_final_layer_norm": True,
         "tie_word_embeddings": False,
         "eos_token_id": [2, 50118], "activation_function": "gelu", "torch_dtype": "bfloat16"},
        {"hidden_size": 36, "word_embed_proj_dim": None, "eos_token_id": None,
         "prefix": "</s>", "decoder_start_token_id": 2},
    ]),
    "t5": (T5Config, [
        {},
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
         "decoder_start_token_id": 0, "n_positions": 512, "output_past": True},
        {"feed_forward_proj": "gated-silu", "dense_act_fn": "relu", "num_decoder_layers": 2},
        {"tie_word_embeddings": False, "scale_decoder_outputs": True, "is_gated_act": True},
        {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3, "bos_token_id": 5,
         "head_dim": 16},
        {"num_layers": 4, "num_decoder_layers": None, "is_encoder_decoder": False},
    ]),
    "llama": (LlamaConfig, [
        {},
        {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
         "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True,
         "pad_token_id": -1, "eos_token_id": [2, 3], "pretraining_tp": None,
         "attention_dropout": None},
        {"hidden_size": 64, "num_attention_heads": 4, "head_dim": None,
         "num_key_value_heads": None, "rope_theta": 5000.0},
        {"rope_theta": 5000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 7.5}},
        {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 5000.0},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 8.0},
         "rope_parameters": {"rope_type": "default", "rope_theta": 7.5}},
        {"rope_scaling": None, "rope_parameters": {**LLAMA3, "rope_theta": 500000.0}},
        {"rope_scaling": {key: LLAMA3[key] for key in list(LLAMA3)[:4]}},
        {"rope_scaling": {"type": "yarn", "factor": 4.0, "beta_fast": 16.0, "truncate": False},
         "max_position_embeddings": 64},
        {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0, 2.5],
                          "long_factor": [1.5, 3.5], "original_max_position_embeddings": 32},
         "hidden_size": 16, "num_attention_heads": 4},
        {"partial_rotary_factor": 0.5},
    ]),
    "instructblip": (InstructBlipConfig, [
        {},
        VICUNA,
        {"text_config": {"hidden_size": 24}, "vision_config": {"hidden_size": 32},
         "image_token_index": 6, "num_query_tokens": 4},
        {"text_config": {"model_type": "t5", "decoder_start_token_id": 0},
         "qformer_config": {"encoder_hidden_size": 5}, "image_token_id": 7},
        {"text_config": None, "qformer_config": None, "image_token_index": 6, "image_token_id": 8},
        {"image_token_id": None, "image_token_index": 6},
    ]),
    "blip_2_vision": (Blip2VisionConfig, [{}, {"hidden_size": 48, "image_size": 364}]),
    "blip_2_qformer": (Blip2QFormerConfig, [
        {},
        {"use_qformer_text_input": True, "vocab_size": 30523, "hidden_dropout_prob": 0.25},
    ]),
    "blip_2": (Blip2Config, [
        {},
        {"architectures": ["Blip2ForConditionalGeneration"], "image_token_index": 50265,
         "text_config": {"eos_token_id": 50118, "model_type": "opt", "vocab_size": 50304},
         "qformer_config": {"encoder_hidden_size": 5, "model_type": "blip_2_qformer"},
         "use_decoder_only_language_model": True, "torch_dtype": "float16"},
        {"text_config": {"model_type": "t5"}, "image_text_hidden_size": 8, "num_query_tokens": 4,
         "vision_config": {"hidden_size": 32}, "qformer_config": {"use_qformer_text_input": True}},
        {"text_config": {"model_type": "llama"}, "image_token_id": 7},
    ]),
    "instructblipvideo_vision": (InstructBlipVideoVisionConfig, [{}, {"hidden_size": 48}]),
    "instructblipvideo_qformer": (InstructBlipVideoQFormerConfig, [{}, {"vocab_size": 30523}]),
    "instructblipvideo": (InstructBlipVideoConfig, [
        {},
        {"architectures": ["InstructBlipVideoForConditionalGeneration"],
         "video_token_index": 32000, "text_config": {"model_type": "llama", "vocab_size": 32001},
         "qformer_config": {"encoder_hidden_size": 5, "model_type": "instructblipvideo_qformer"}},
        {"text_config": {"model_type": "t5"}, "video_token_id": 7, "num_query_tokens": 4,
         "vision_config": {"hidden_size": 32}},
        {"video_token_index": 6, "video_token_id": 8, "image_token_index": 9, "image_token_id": 10},
        {"video_token_id": None, "video_token_index": 6},
    ]),
}


def configurations(folder):
    tensors = {}
    for name, (config_class, inputs) in CASES.items():
        outputs = []
        for given in inputs:
            result = config_class(**json.loads(json.dumps(given))).to_diff_dict()
            del result["transformers_version"]
            # Left out by the reference where T5 is inside another configuration, its default there.
            if result.get("text_config", {}).get("model_type") == "t5":
                result["text_config"].setdefault("is_encoder_decoder", True)
            outputs.append(json.dumps(result, indent=2, sort_keys=True))
        tensors |= texts(f"{name}.given", [json.dumps(given) for given in inputs])
        tensors |= texts(f"{name}.expected", outputs)
    save(folder, "configuration/files", tensors)


FIXTURES = {"configuration/files": configurations}
