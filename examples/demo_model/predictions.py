"""The reference's answers as LAVIS makes them: the likelihood of each of a list of answers, and beam search for a short one.

As `_predict_class` and `predict_answers` of LAVIS' blip2_vicuna_instruct.py: a candidate follows the prompt without its
BOS; the language model of a short answer is given embeddings alone, so that repetition_penalty does not see the prompt.
"""

from __future__ import annotations

import torch

TEMPLATE = "Question: {} Short answer:"
ODD = ["Yes", "ein grünes Dreieck 🙂",
       "a large striped purple star, a small dotted white circle, a small red ring and a sign that says stop"]
NEAR = 1e-4


def inputs_of(processor, images: list, text: str):
    """One row about several images: each has its own Q-Former text, their placeholders follow one another."""
    inputs = processor(images=images, text=[text] * len(images), return_tensors="pt")
    ids = inputs["input_ids"][:1]
    more = ids[:, : processor.num_query_tokens].repeat(1, len(images) - 1)
    inputs["input_ids"] = torch.cat([more, ids], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return inputs


def log_likelihoods(processor, model, inputs, candidates: list[str]) -> dict:
    """Without and with the end token that follows a candidate."""
    start = inputs["input_ids"].shape[1]
    found, found_with_end = [], []
    for candidate in candidates:
        told = processor.tokenizer(candidate, add_special_tokens=False)["input_ids"]
        labels = torch.tensor([told + [processor.tokenizer.eos_token_id]])
        ids = torch.cat([inputs["input_ids"], labels], 1)
        logits = model(**{**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}).logits[0, start - 1 : -1]
        scores = torch.log_softmax(logits.double(), -1).gather(-1, labels.T)
        found.append(scores[:-1].sum().item())
        found_with_end.append(scores.sum().item())
    return {"scores": found, "scores_with_end": found_with_end}


def short_answer(processor, model, inputs) -> dict:
    features = model.get_image_features(
        inputs["pixel_values"], inputs["qformer_input_ids"], inputs["qformer_attention_mask"]).pooler_output
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    mask = (inputs["input_ids"] == model.config.image_token_id)[..., None].expand_as(embeds)
    output = model.language_model.generate(
        inputs_embeds=embeds.masked_scatter(mask, features), attention_mask=inputs["attention_mask"],
        num_beams=5, max_new_tokens=9, min_length=1, repetition_penalty=1.5, length_penalty=0.0,
        eos_token_id=processor.tokenizer.eos_token_id, num_return_sequences=2, output_scores=True, return_dict_in_generate=True)
    text = processor.decode(output.sequences[0], skip_special_tokens=True).strip()
    return {"answer": text, "answer_near_tie": (output.sequences_scores[0] - output.sequences_scores[1]).item() < NEAR}


@torch.no_grad()
def predictions(processor, model, asked: list[tuple[list, list[str], str]], vocabulary: list[str]) -> list[dict]:
    """`asked`: images, their names and a question. The first entry holds the candidates; the others are in the
    order of `asked`."""
    candidates = sorted(set(vocabulary)) + ODD
    made = [{"candidates": candidates}]
    for number, (images, names, question) in enumerate(asked):
        template = TEMPLATE if number % 3 == 2 else ""
        inputs = inputs_of(processor, images, template.format(question) if template else question)
        scores = log_likelihoods(processor, model, inputs, candidates)
        best, second = sorted(scores["scores"])[:-3:-1]
        made.append({"images": names, "template": template, "question": question,
                     "best": candidates[scores["scores"].index(best)],
                     "best_near_tie": best - second < NEAR * abs(best),
                     **{name: [round(v, 7) for v in values] for name, values in scores.items()},
                     **short_answer(processor, model, inputs)})
    return made
