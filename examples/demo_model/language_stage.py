"""Second and last stage: the Q-Former and the language model learn to answer, first on oracle features, then on pictures.

Besides the answer's own loss, the queries have targets. Half-way up the Q-Former they list all objects, from left to right
and from top to bottom; at its end the first four hold the objects that the question is about. Without these targets the
Q-Former hardly reads the instruction, and order is learned many times slower.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import model as demo
from questions import KINDS, NUMBERS, Question, ask, short_questions
from scene import ALL_SHAPES, COLOUR_NAMES, SIZE, SIZES, SLOTS, TEXTURES, WORDS, render, sample_scene
from targets import Oracle, extent_of, patch_table, sign_classes
from vision_stage import DenseHeads, outline_of, pixels_of

SLOT_PARTS = [len(ALL_SHAPES) + 1, len(COLOUR_NAMES), len(SIZES), len(TEXTURES)]  # the last shape: no object
SIGN_PARTS = [len(WORDS) + 3, 11, 11]  # words, a number, what is not taught, no sign
ORDERED = 2  # after this many Q-Former layers the queries list the objects
ALL_KINDS = [*KINDS, "caption"]


def _slot(things, numbers) -> tuple[np.ndarray, np.ndarray]:
    parts, places = np.full((SLOTS, 4), -1, np.int64), np.zeros((SLOTS, 3), np.float32)
    parts[:, 0] = len(ALL_SHAPES)
    for row, number in enumerate(numbers[:SLOTS]):
        t = things[number]
        parts[row] = ALL_SHAPES.index(t.shape), COLOUR_NAMES.index(t.colour), SIZES.index(t.size), TEXTURES.index(t.texture)
        places[row] = t.x / SIZE, t.y / SIZE, extent_of(t.radius)
    return parts, places


def _ends(order: list[int]) -> list[int]:
    """Of more than there is room for, the first and the last ones."""
    return order if len(order) <= SLOTS else order[: SLOTS // 2] + order[-SLOTS // 2 :]


def _rows(rows: list[list[int]], filler: int) -> torch.Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=filler)


def encode(scenes, asked: list[tuple[int, Question]], prefix: str, decoder: str) -> dict:
    """Tensors of questions, each with the number of its scene; texts through the processor's own tokenizers.

    Where one decoder reads and writes, "ids" are the question and the answer, and "labels" are as long as they.
    """
    language, qformer = demo.processor(decoder).tokenizer, demo.processor(decoder).qformer_tokenizer
    texts = [question.text for _, question in asked]
    prompts = language(texts)["input_ids"]
    answers = language([question.answer for _, question in asked], add_special_tokens=False)["input_ids"]
    answers = [ids + [language.eos_token_id] for ids in answers]
    told = qformer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    read, written = prompts, answers
    if decoder != "t5":
        read = [prompt + answer for prompt, answer in zip(prompts, answers)]
        written = [[-100] * len(prompt) + answer for prompt, answer in zip(prompts, answers)]
    ids, labels = _rows(read, language.pad_token_id), _rows(written, -100)
    chosen, by_x, by_y, signs = [], [], [], []
    for number, question in asked:
        things = scenes[number].things
        chosen.append(_slot(things, question.slots))
        by_x.append(_slot(things, _ends(sorted(range(len(things)), key=lambda i: things[i].x))))
        by_y.append(_slot(things, _ends(sorted(range(len(things)), key=lambda i: things[i].y))))
        sign = scenes[number].sign
        if question.kind not in ("sign", "caption"):
            signs.append((-1, -1, -1))
        else:
            signs.append(sign_classes(sign) if sign else (len(WORDS) + 2, 10, 10))
    batch = {"scene": torch.tensor([n for n, _ in asked]), "ids": ids, "labels": labels,
             "qformer_ids": told["input_ids"], "qformer_mask": told["attention_mask"],
             "sign": torch.tensor(signs), "count": torch.tensor([q.count for _, q in asked]),
             "kind": torch.tensor([ALL_KINDS.index(q.kind) for _, q in asked])}
    for name, slots in (("chosen", chosen), ("by_x", by_x), ("by_y", by_y)):
        batch[name] = torch.from_numpy(np.stack([s[0] for s in slots]))
        batch[name + "_places"] = torch.from_numpy(np.stack([s[1] for s in slots]))
    return {f"{prefix}.{key}": value for key, value in batch.items()}


def question_batch(seed, scenes: int, short: int, captions: int, pictures: bool, decoder: str = "llama") -> dict:
    """`short` questions about each scene, and a caption for the first `captions` of them."""
    drawn, tables, centres, images, outlines = [], [], [], [], []
    for i in range(scenes):
        scene = sample_scene(np.random.default_rng((*seed, i)))
        image, owner = render(scene)
        table, centre = patch_table(scene, owner)
        drawn.append(scene), tables.append(table), centres.append(centre), images.append(image)
        if pictures:
            outlines.append(outline_of(owner))
    rng = np.random.default_rng((*seed, scenes))
    asked = [(i, q) for i, scene in enumerate(drawn) for q in short_questions(rng, scene, short)]
    batch = {"table": torch.from_numpy(np.stack(tables)), "centres": torch.from_numpy(np.stack(centres)),
             **encode(drawn, asked, "short", decoder)}
    if captions:
        batch |= encode(drawn, [(i, ask(rng, drawn[i], "caption")) for i in range(captions)], "caption", decoder)
    if pictures:
        batch["images"] = torch.from_numpy(np.stack(images))
        batch["outlines"] = torch.from_numpy(np.stack(outlines))
    return batch


class SlotHeads(nn.Module):
    """Linear read-outs of the queries, used in training only."""

    def __init__(self, width: int):
        super().__init__()
        self.chosen = nn.Linear(width, sum(SLOT_PARTS) + 3)
        self.listed = nn.Linear(width, sum(SLOT_PARTS) + 3)
        self.sign = nn.Linear(width, sum(SIGN_PARTS))
        self.count = nn.Linear(width, len(NUMBERS))

    @staticmethod
    def _slots(logits, truth, places):
        total, right = 0.0, None
        for part, (values, share) in enumerate(zip(logits[..., :-3].split(SLOT_PARTS, -1), (1.0, 1.0, 0.7, 0.7))):
            target = truth[..., part]
            loss = functional.cross_entropy(values.flatten(0, -2), target.flatten(), ignore_index=-1, reduction="sum")
            total = total + share * loss / target.numel()
            fine = (values.argmax(-1) == target) | (target < 0)
            right = fine if right is None else right & fine
        there = truth[..., 1] >= 0
        away = functional.smooth_l1_loss(logits[..., -3:][there], places[there], beta=0.05, reduction="sum") / there.numel()
        return total + 5 * away, right.float().mean().detach()

    def loss(self, final, middle, group):
        chosen, chosen_right = self._slots(self.chosen(final[:, :4]), group["chosen"], group["chosen_places"])
        by_x, x_right = self._slots(self.listed(middle[:, :4]), group["by_x"], group["by_x_places"])
        by_y, y_right = self._slots(self.listed(middle[:, 4:8]), group["by_y"], group["by_y_places"])
        # The second four queries are needed half-way up only. Held constant at the end, they leave the language model
        # no other source than the first four, and so than the Q-Former's reading of the question.
        silent = final[:, 4:8].var(0).mean()
        total = chosen + 0.5 * (by_x + by_y) + 0.5 * silent
        if (group["sign"] >= 0).any():
            for values, target in zip(self.sign(final[:, 8]).split(SIGN_PARTS, -1), group["sign"].unbind(-1)):
                total = total + 0.3 * functional.cross_entropy(values, target, ignore_index=-1)
        if (group["count"] >= 0).any():
            total = total + 0.3 * functional.cross_entropy(self.count(final[:, 9]), group["count"], ignore_index=-1)
        return total, {"chosen": chosen_right, "by_x": x_right, "by_y": y_right, "silent": silent.detach()}


class SharedKeys:
    """Lets a Q-Former's cross-attention compute keys and values once per picture instead of once per text about it."""

    def __init__(self, qformer: nn.Module):
        self.first = self.row_of = slice(None)
        for layer in qformer.encoder.layer:
            for linear in (layer.crossattention.attention.key, layer.crossattention.attention.value):
                linear.register_forward_pre_hook(lambda _module, inputs: inputs[0][self.first])
                linear.register_forward_hook(lambda _module, _inputs, output: output[self.row_of])

    def share(self, pictures: torch.Tensor | None) -> None:
        """`pictures`: which picture each row is about; None: each row has its own."""
        self.first = self.row_of = slice(None)
        if pictures is not None:
            different, self.row_of = pictures.unique(return_inverse=True)
            self.first = (pictures[None] == different[:, None]).int().argmax(1)


class QuestionStage(nn.Module):
    """The whole model with its training heads. With `pictures` false, oracle features replace the vision tower's output.

    With OPT or T5 the vision tower, which is the LLaMA model's, is frozen, and where `freeze_tower` says so.
    """

    def __init__(self, pictures: bool, decoder: str = "llama", noise: float = 0.3, freeze_tower: bool = False):
        super().__init__()
        self.pictures, self.decoder, self.noise = pictures, decoder, noise
        self.tower_learns = pictures and decoder == "llama" and not freeze_tower
        self.net = demo.build(decoder)
        self.net.vision_model.requires_grad_(self.tower_learns)
        self.slot_heads = SlotHeads(demo.WIDTH)
        width = self.net.config.vision_config.hidden_size
        if self.tower_learns:
            self.heads = DenseHeads(width)
        if not pictures:
            self.oracle = Oracle(width)
        self.middle, self.keys = None, SharedKeys(self.net.qformer)
        self.net.qformer.encoder.layer[ORDERED - 1].register_forward_hook(self._keep)

    def _keep(self, _module, _inputs, output):
        self.middle = output[0] if isinstance(output, tuple) else output

    def features(self, batch):
        if self.pictures:
            with torch.set_grad_enabled(self.tower_learns and torch.is_grad_enabled()):
                return self.net.vision_model(pixels_of(batch["images"])).last_hidden_state
        told = self.oracle(batch["table"], batch["centres"])
        noisy = told + self.noise * torch.randn_like(told) if self.training else told
        return functional.layer_norm(noisy, told.shape[-1:])

    def answer_logits(self, features, group, blank: bool = False):
        """Logits of the answer's tokens, their labels, and the queries at the end and in the middle of the Q-Former."""
        net, rows = self.net, len(group["ids"])
        told, mask = group["qformer_ids"], group["qformer_mask"]
        if blank:
            told, mask = told[:, [0, -1]], mask[:, :2]
            told = torch.tensor([[2, 3]], device=told.device).expand(rows, 2)
        queries = net.query_tokens.expand(rows, -1, -1)
        count = queries.shape[1]
        self.keys.share(group["scene"])
        output = net.qformer(
            input_ids=told, attention_mask=torch.cat([torch.ones(rows, count, dtype=mask.dtype, device=mask.device), mask], 1),
            query_embeds=queries, encoder_hidden_states=features[group["scene"]],
        ).last_hidden_state
        final = output[:, :count]
        handed = final + self.noise * torch.randn_like(final) if self.training else final
        inputs = torch.cat([net.language_projection(handed), net.language_model.get_input_embeddings()(group["ids"])], 1)
        labels = group["labels"]
        wanted = labels != -100
        if self.decoder == "t5":
            pictures = torch.ones(rows, count, dtype=torch.bool, device=told.device)
            read = torch.cat([pictures, group["ids"] != net.config.text_config.pad_token_id], 1)
            logits = net.language_model(inputs_embeds=inputs, attention_mask=read, labels=labels, use_cache=False).logits[wanted]
        else:
            hidden = net.language_model.model(inputs_embeds=inputs, use_cache=False).last_hidden_state[:, count - 1 : -1]
            logits = net.language_model.lm_head(hidden[wanted])
        return logits, labels[wanted], final, self.middle[:, :count]

    def loss(self, batch):
        features = self.features(batch)
        total, figures = 0.0, {}
        for name, share in (("short", 1.0), ("caption", 0.6)):
            group = _group(batch, name)
            if not group:
                continue
            logits, labels, final, middle = self.answer_logits(features, group)
            answer = functional.cross_entropy(logits, labels)
            slots, told = self.slot_heads.loss(final, middle, group)
            total = total + share * (answer + slots)
            figures |= {name: answer.detach()} | {f"{name}_{k}": v for k, v in told.items()}
        if self.tower_learns:
            dense, shown = self.heads.loss(features, batch)
            total = total + 0.3 * dense
            figures |= {k: shown[k] for k in ("shape", "word", "letter") if k in shown}
        return total, figures


def _group(batch, name):
    return {key.split(".", 1)[1]: value for key, value in batch.items() if key.startswith(name + ".")}


def language_batch(number: int) -> dict:
    return question_batch((2, number), 32, 2, 16, pictures=False)


def joint_batch(number: int, decoder: str = "llama", lessons: int = 3) -> dict:
    return question_batch((lessons, number), 16, 4, 16, pictures=True, decoder=decoder)


def evaluate(stage: QuestionStage, scenes: int = 240, blank: bool = False) -> dict[str, float]:
    """Share of exact answers on unseen scenes, by kind: those of which every token is the most likely one."""
    right, seen = {}, {}
    device = next(stage.parameters()).device
    for part in range(scenes // 40):
        batch = question_batch((0, part), 40, 5, 40, pictures=stage.pictures, decoder=stage.decoder)
        batch = {k: v.to(device) for k, v in batch.items()}
        features = stage.features(batch)
        for name in ("short", "caption"):
            group = _group(batch, name)
            logits, labels, _, _ = stage.answer_logits(features, group, blank)
            fine = torch.ones_like(group["labels"], dtype=torch.bool)
            fine[group["labels"] != -100] = logits.argmax(-1) == labels
            for kind, well in zip(group["kind"].tolist(), fine.all(1).tolist()):
                right[ALL_KINDS[kind]] = right.get(ALL_KINDS[kind], 0) + well
                seen[ALL_KINDS[kind]] = seen.get(ALL_KINDS[kind], 0) + 1
    short = [k for k in right if k != "caption"]
    together = sum(right[k] for k in short) / sum(seen[k] for k in short)
    return {"all": together} | {k: right[k] / seen[k] for k in ALL_KINDS if k in seen}
