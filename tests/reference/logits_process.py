"""Fixtures of tests/generation/logits_process_test.cpp: the reference's logits processors on random
scores."""

import torch
from transformers.generation import logits_process as lp

from common import save, seed


def processor_inputs():
    """scores: ordinary; rough: -inf, a very likely id and a flat row; wide: more than top_h looks
    at; ties: equal scores, for what does not sort them; peaked: one id takes all but float32's
    last bits."""
    rough = torch.randn(4, 40) * 2
    rough[1, ::3] = -float("inf")
    rough[2] = -2.0 - torch.rand(40)
    rough[2, 7] = 5.0
    rough[3] = 0.5 + torch.rand(40) * 0.1
    ties = rough.clone()
    ties[0, 10:20] = ties[0, 3]
    ties[3] = 0.5
    peaked = torch.tensor([[0.0], [-100.0], [0.0], [-240.0]]).repeat(1, 40)
    peaked[:, 1:] -= torch.tensor([[14.0], [17.0], [19.0], [25.0]]) + 0.3 * torch.arange(39)
    # Each row ends with what it holds before: bigrams and trigrams repeat.
    ids = torch.tensor([[5, 6, 7, 5, 6, 9, 5, 6], [1, 1, 1, 1, 1, 1, 1, 1],
                        [3, 39, 2, 8, 3, 39, 2, 8], [0, 12, 45, 12, 45, 31, 12, 45]])
    return {"scores": torch.randn(4, 40) * 3, "rough": rough, "wide": torch.randn(2, 300) * 1.5,
            "ties": ties, "peaked": peaked, "ids": ids}


def warpers():
    """Name -> processor of sampling."""
    return {
        "temperature_low": lp.TemperatureLogitsWarper(0.35),
        "temperature_high": lp.TemperatureLogitsWarper(2.5),
        "top_h_20": lp.TopHLogitsWarper(0.2),
        "top_h_70": lp.TopHLogitsWarper(0.7),
        "top_h_95": lp.TopHLogitsWarper(0.95),
        "top_k_1": lp.TopKLogitsWarper(1),
        "top_k_5": lp.TopKLogitsWarper(5),
        "top_k_5_keep_9": lp.TopKLogitsWarper(5, min_tokens_to_keep=9),
        "top_k_500": lp.TopKLogitsWarper(500),
        "top_p_0": lp.TopPLogitsWarper(0.0),
        "top_p_30": lp.TopPLogitsWarper(0.3),
        "top_p_90": lp.TopPLogitsWarper(0.9),
        "top_p_90_keep_4": lp.TopPLogitsWarper(0.9, min_tokens_to_keep=4),
        "top_p_100": lp.TopPLogitsWarper(1.0),
        "min_p_0": lp.MinPLogitsWarper(0.0),
        "min_p_10": lp.MinPLogitsWarper(0.1),
        "min_p_100": lp.MinPLogitsWarper(1.0),
        "min_p_50_keep_3": lp.MinPLogitsWarper(0.5, min_tokens_to_keep=3),
        "typical_20": lp.TypicalLogitsWarper(0.2),
        "typical_90": lp.TypicalLogitsWarper(0.9),
        "typical_20_keep_5": lp.TypicalLogitsWarper(0.2, min_tokens_to_keep=5),
        "epsilon_02": lp.EpsilonLogitsWarper(0.02),
        "epsilon_90": lp.EpsilonLogitsWarper(0.9),
        "epsilon_90_keep_3": lp.EpsilonLogitsWarper(0.9, min_tokens_to_keep=3),
        "eta_02": lp.EtaLogitsWarper(0.02),
        "eta_90": lp.EtaLogitsWarper(0.9),
        "eta_30_keep_3": lp.EtaLogitsWarper(0.3, min_tokens_to_keep=3),
        "renormalize": lp.LogitNormalization(),
    }


def processor_cases():
    """Name -> (processor, its input); tests/generation/logits_process_test.cpp has the same list."""
    bias = lp.SequenceBiasLogitsProcessor
    eos = torch.tensor([2, 5])
    cases = {
        "sequence_bias": (bias([[[7], -2.5], [[5, 6, 9], 3.0], [[6, 9], 1.5], [[2, 8, 4], -7.0]]),
                          "scores"),
        "sequence_bias_again": (bias([[[7], -2.5], [[7], 1.0], [[6, 4], 2.0]]), "rough"),
        "bad_words": (lp.NoBadWordsLogitsProcessor([[3], [2], [6, 9], [1, 1, 1, 4], [8, 5]], eos),
                      "scores"),
        "repetition_penalty": (lp.RepetitionPenaltyLogitsProcessor(1.7), "scores"),
        "repetition_penalty_below_one": (lp.RepetitionPenaltyLogitsProcessor(0.6), "rough"),
        "repetition_penalty_padded": (lp.RepetitionPenaltyLogitsProcessor(
            1.7, prompt_ignore_length=torch.tensor([0, 2, 6, 8])), "scores"),
        "min_length": (lp.MinLengthLogitsProcessor(9, eos), "scores"),
        "min_length_reached": (lp.MinLengthLogitsProcessor(8, eos), "scores"),
        "min_new_tokens": (lp.MinNewTokensLengthLogitsProcessor(5, 4, eos), "scores"),
        "min_new_tokens_reached": (lp.MinNewTokensLengthLogitsProcessor(5, 3, eos), "scores"),
        "forced_bos_later": (lp.ForcedBOSTokenLogitsProcessor(4), "scores"),
        "forced_eos": (lp.ForcedEOSTokenLogitsProcessor(9, eos), "scores"),
        "forced_eos_later": (lp.ForcedEOSTokenLogitsProcessor(10, eos), "scores"),
        "remove_invalid": (lp.InfNanRemoveLogitsProcessor(), "rough"),
        "exponential_decay": (lp.ExponentialDecayLengthPenalty((1, 1.3), eos, 4), "scores"),
        "exponential_decay_rough": (lp.ExponentialDecayLengthPenalty((0, 1.1), torch.tensor([3]), 3),
                                    "rough"),
        "exponential_decay_early": (lp.ExponentialDecayLengthPenalty((4, 1.3), eos, 4), "scores"),
        "suppress": (lp.SuppressTokensLogitsProcessor([1, 39, 1]), "scores"),
        "begin_suppress": (lp.SuppressTokensAtBeginLogitsProcessor([0, 39], 8), "scores"),
        "begin_suppress_later": (lp.SuppressTokensAtBeginLogitsProcessor([0, 39], 7), "scores"),
        "prefix": (lp.PrefixConstrainedLogitsProcessor(
            lambda row, ids: [ids[-1].item() % 40, 3 + row], 2), "scores"),
        "prefix_unsatisfiable": (lp.PrefixConstrainedLogitsProcessor(
            lambda row, _: [0, 3] if row == 0 else [3, 6], 2), "rough_blocked"),
    }
    for n in (1, 2, 3, 8, 9):
        cases[f"no_repeat_ngram_{n}"] = (lp.NoRepeatNGramLogitsProcessor(n), "scores")
    for name in ("scores", "rough", "wide", "ties", "peaked"):
        sorts = ("top_h", "top_p", "typical", "min_p_50_keep")
        cases |= {f"{name}.{case}": (processor, name) for case, processor in warpers().items()
                  if name != "ties" or not case.startswith(sorts)}
    return cases


def is_stable_processor(processor, ids, scores, result):
    """Whether the ids that are dropped stay the same under rounding of the scores."""
    for _ in range(4):
        factor = 1 + torch.randn(scores.shape) * 1e-6
        other = processor(ids, scores * factor)
        if not torch.equal(other.isneginf(), result.isneginf()):
            return False
    return True


def processors(folder):
    """Every processor alone."""
    seed(21)
    inputs = processor_inputs()
    inputs["rough_blocked"] = inputs["rough"].clone()
    inputs["rough_blocked"][:2, [0, 3]] = -float("inf")
    invalid = inputs["rough"].clone()
    invalid[0, 4], invalid[2, 5] = float("nan"), float("inf")
    tensors = dict(inputs, invalid=invalid)
    for name, (processor, source) in processor_cases().items():
        scores = invalid if name == "remove_invalid" else inputs[source]
        ids = inputs["ids"][: len(scores)]
        result = processor(ids, scores.clone())
        assert source == "ties" or is_stable_processor(processor, ids, scores, result), name
        tensors[f"out.{name}"] = result
    start = torch.tensor([[4], [9]])
    tensors["out.forced_bos"] = lp.ForcedBOSTokenLogitsProcessor(4)(start, inputs["scores"][:2])
    save(folder, "generation/processors", tensors)


FIXTURES = {"generation/processors": processors}
