"""Fixtures of tests/models/: what the checkpoints of instructblip.py answer to rows padded on the
right, and to pictures of another size than the vision tower was trained on."""

import torch
from transformers import InstructBlipForConditionalGeneration

from answers import INPUTS, MODELS
from common import ids, nudged, save, seed
from instructblip import KINDS, image_inputs, margin, prompt

STEPS = dict(return_dict_in_generate=True, output_logits=True, output_scores=True)
GREEDY = dict(max_new_tokens=8, min_new_tokens=4)
BEAMS = dict(num_beams=3, max_new_tokens=6, min_new_tokens=4, length_penalty=0.7,
             repetition_penalty=1.3)


def load(kind, first_seed):
    seed(first_seed + sorted(KINDS).index(kind))
    return InstructBlipForConditionalGeneration.from_pretrained(
        MODELS / kind, attn_implementation="eager").eval()


def batch_of(model, lengths, side):
    config = model.config.text_config
    input_ids, mask = prompt(lengths, side, config.pad_token_id, config.bos_token_id)
    return image_inputs(len(lengths)) | dict(input_ids=input_ids, attention_mask=mask)


def alone(batch, row):
    """A row without its padding."""
    one = {name: tensor[row : row + 1] for name, tensor in batch.items()}
    kept = one["attention_mask"][0] == 1
    return one | {name: one[name][:, kept] for name in ("input_ids", "attention_mask")}


def new_ids(model, batch, sequences):
    decoder_only = model.config.use_decoder_only_language_model
    return sequences[:, batch["input_ids"].shape[1] if decoder_only else 1 :].tolist()


def right_padding(kind):
    """Each row's answer alone. In a batch a decoder-only reference goes on after the padding: only
    the row that has none gets its answer."""

    @torch.no_grad()
    def make(folder):
        model = load(kind, 300)
        batch = batch_of(model, [7, 4, 2], "right")
        together = new_ids(model, batch, model.generate(**batch, **GREEDY))
        greedy, beams, logits, scores = [], [], [], []
        for row in range(3):
            one = alone(batch, row)
            output = model.generate(**one, **GREEDY, **STEPS)
            assert margin(output.logits) > 1e-3, (row, margin(output.logits))
            greedy += new_ids(model, one, output.sequences)
            logits.append(output.logits[0])
            same = together[row][: len(greedy[row])] == greedy[row]
            assert same == (row == 0 or not model.config.use_decoder_only_language_model), row
            output = model.generate(**one, **BEAMS, **STEPS)
            again = nudged(model).generate(**one, **BEAMS)
            assert torch.equal(again, output.sequences), "beam search hangs on rounding"
            beams += new_ids(model, one, output.sequences)
            scores.append(output.sequences_scores)
        save(folder, f"instructblip/{kind}/right_padding", {
            **batch, **ids(greedy, "greedy"), **ids(beams, "beams"),
            "first_logits": torch.cat(logits), "beams.sequences_scores": torch.cat(scores)})

    return make


def picture_size(kind):
    """interpolate_pos_encoding through forward, get_image_features and generate."""

    @torch.no_grad()
    def make(folder):
        model = load(kind, 310)
        batch = batch_of(model, [5, 3], "left")
        batch["pixel_values"] = torch.randn(2, 3, 24, 20)
        decoder = {}
        if not model.config.use_decoder_only_language_model:
            decoder["labels"] = torch.randint(5, 95, (2, 4))
        pictures = {name: batch[name] for name in INPUTS[:3]}
        features = model.get_image_features(**pictures, interpolate_pos_encoding=True)
        output = model.generate(**batch, interpolate_pos_encoding=True, **GREEDY, **STEPS)
        assert margin(output.logits) > 1e-3, margin(output.logits)
        save(folder, f"instructblip/{kind}/picture_size", {
            **batch, **decoder,
            "logits": model(**batch, **decoder, interpolate_pos_encoding=True).logits,
            "features.pooler_output": features.pooler_output,
            "features.last_hidden_state": features.last_hidden_state,
            "sequences": output.sequences, "last_logits": output.logits[-1]})

    return make


FIXTURES = {
    f"instructblip/{kind}/{name}": function(kind)
    for kind in KINDS
    for name, function in (("right_padding", right_padding), ("picture_size", picture_size))
}
