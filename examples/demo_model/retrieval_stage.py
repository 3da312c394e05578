"""A stage of its own: a BLIP-2 with the demo's vision tower learns which texts belong to which pictures.

As BLIP-2's first stage without its language modelling: a contrastive loss (ITC) between the picture's queries and the text's
first token, of whose similarities the largest counts, and a matching loss (ITM) on pairs that the Q-Former reads together,
where the wrong ones are those that ITC finds most alike. Each picture has a caption, a short sentence and a false sentence
that differs from one of them in a word or two. A text that may fit another picture of the batch is not its negative; only a
caption counts as one for pictures that hold more than it tells, in ITC, so that it ranks its own picture first.

The tower stays as it is: its outputs for all pictures are computed once and kept in a file.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import (Blip2Config, Blip2ForImageTextRetrieval, Blip2Processor, Blip2QFormerConfig, Blip2VisionConfig,
                          BlipImageProcessorPil, InstructBlipForConditionalGeneration, InstructBlipProcessor)

import model as demo
from language_stage import SharedKeys
from scene import GRID, SIZE, Scene, render, sample_scene
from sentences import MORE_WORDS, Sentence, caption, changed, short_sentence
from trainer import batches
from vision_stage import pixels_of, vision_config
from vocabulary import QUERIES, qformer_tokenizer

SCENES, TEXTS = 9, 10  # first part of the seeds of the pictures and of the batches
TOKENS = GRID * GRID + 1
PORTION = 256  # so many pictures go through the tower at once
SHARED = 128  # width of the space that pictures and texts share


@functools.lru_cache(maxsize=1)
def processor() -> Blip2Processor:
    return Blip2Processor(BlipImageProcessorPil(size={"height": SIZE, "width": SIZE}), qformer_tokenizer(MORE_WORDS),
                          num_query_tokens=QUERIES)


def build() -> Blip2ForImageTextRetrieval:
    """Random weights. As in Salesforce/blip2-itm-vit-g the placeholder token lies behind the end of the word table."""
    tokenizer = processor().tokenizer
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    vision = {name: value for name, value in vision_config().to_dict().items() if name != "model_type"}
    qformer = Blip2QFormerConfig(
        vocab_size=image_token, hidden_size=demo.WIDTH, num_hidden_layers=4, num_attention_heads=4, intermediate_size=512,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=128, cross_attention_frequency=1,
        pad_token_id=tokenizer.pad_token_id, use_qformer_text_input=True)
    return Blip2ForImageTextRetrieval(Blip2Config(
        vision_config=Blip2VisionConfig(**vision).to_dict(), qformer_config=qformer.to_dict(), num_query_tokens=QUERIES,
        image_text_hidden_size=SHARED, image_token_index=image_token))


def start_from(net: Blip2ForImageTextRetrieval, folder: Path) -> None:
    """The vision tower, the Q-Former and its word table from an InstructBLIP's folder; new words start at random."""
    given = InstructBlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).state_dict()
    renamed = lambda name: name.replace("qformer.embeddings.l", "qformer.l").replace("qformer.embeddings", "embeddings")
    given = {renamed(name): value for name, value in given.items() if not name.startswith("language_")}
    words = net.embeddings.word_embeddings.weight.detach().clone()
    before = InstructBlipProcessor.from_pretrained(folder).qformer_tokenizer.get_vocab()
    after = {word: row for word, row in processor().tokenizer.get_vocab().items() if word in before}
    words[list(after.values())] = given["embeddings.word_embeddings.weight"][[before[word] for word in after]]
    given["embeddings.word_embeddings.weight"] = words
    absent, unknown = net.load_state_dict(given, strict=False)
    if unknown or any(name.split(".")[0] not in ("vision_projection", "text_projection", "itm_head") for name in absent):
        raise ValueError(f"{folder} does not fit: it lacks {absent} and holds {unknown}")


def scene_of(number: int) -> Scene:
    return sample_scene(np.random.default_rng((SCENES, number)))


def _pictures(number: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([render(scene_of(number * PORTION + i))[0] for i in range(PORTION)]))


@torch.no_grad()
def keep_features(net: Blip2ForImageTextRetrieval, path: Path, scenes: int) -> None:
    """Writes the tower's outputs for the first `scenes` pictures and a few more, bfloat16 [scenes, tokens, width], after those
    that the file has."""
    row = TOKENS * net.config.vision_config.hidden_size * 2
    count, device = PORTION, net.device
    done = path.stat().st_size // (row * count) if path.exists() else 0
    with open(path, "ab") as file:
        file.truncate(done * row * count)
        for images in batches(_pictures, done, max(done, -(-scenes // count))):
            features = net.vision_model(pixels_of(images.to(device))).last_hidden_state
            file.write(features.to(torch.bfloat16).cpu().view(torch.int16).numpy().tobytes())


@functools.lru_cache(maxsize=1)
def features_in(path: Path, scenes: int) -> torch.Tensor:
    width = vision_config().hidden_size
    return torch.from_file(str(path), size=scenes * TOKENS * width, dtype=torch.bfloat16).view(scenes, TOKENS, width)


def encode(texts: list[str]) -> dict[str, torch.Tensor]:
    return dict(processor().tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False))


def batch_of(rng: np.random.Generator, scenes: list[Scene]) -> dict[str, torch.Tensor]:
    """Texts of the scenes: a caption and a short sentence of each, then a false one of each.

    "itc_negative" and "itm_negative" [texts, scenes] say which pairs are wrong for the two losses.
    """
    told: list[Sentence] = [caption(rng, scene) for scene in scenes] + [short_sentence(rng, scene) for scene in scenes]
    told += [changed(rng, told[i + len(scenes) * int(rng.integers(2))], scene) for i, scene in enumerate(scenes)]
    wrong = torch.tensor([[not sentence.may_fit(scene) for scene in scenes] for sentence in told])
    beyond = torch.tensor([[bool(sentence.whole) and not sentence.fits(scene) for scene in scenes] for sentence in told])
    return {**encode([sentence.text for sentence in told]), "itm_negative": wrong, "itc_negative": wrong | beyond}


def retrieval_batch(number: int, path: Path, scenes: int, size: int = 48) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng((TEXTS, number))
    chosen = rng.choice(scenes, size, replace=False)
    features = features_in(path, scenes)[torch.from_numpy(chosen)]
    return {"features": features, **batch_of(rng, [scene_of(int(i)) for i in chosen])}


class RetrievalStage(nn.Module):
    """The whole model with the temperature of its contrastive loss, which the checkpoint has no place for."""

    def __init__(self):
        super().__init__()
        self.net = build()
        self.net.vision_model.requires_grad_(False)
        self.heat = nn.Parameter(torch.tensor(0.07).log())
        self.keys = SharedKeys(self.net.qformer)

    def image_embeds(self, features: torch.Tensor) -> torch.Tensor:
        """[pictures, queries, shared] of unit length."""
        queries = self.net.query_tokens.expand(len(features), -1, -1)
        seen = self.net.qformer(query_embeds=queries, encoder_hidden_states=features).last_hidden_state
        return functional.normalize(self.net.vision_projection(seen), dim=-1)

    def text_embeds(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """[texts, shared] of unit length."""
        parts, order = [], mask.sum(1).argsort()
        for rows in order.chunk(3):  # texts of like lengths together
            some = mask[rows, : int(mask[rows].sum(1).max())]
            read = self.net.qformer(query_embeds=self.net.embeddings(input_ids=ids[rows, : some.shape[1]]), query_length=0,
                                    attention_mask=some).last_hidden_state
            parts.append(self.net.text_projection(read[:, 0]))
        return functional.normalize(torch.cat(parts)[order.argsort()], dim=-1)

    def match_logits(self, features: torch.Tensor, pictures: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor):
        """[pairs, 2] of the pictures with these numbers and the texts of as many rows."""
        parts, order = [], mask.sum(1).argsort()
        for rows in order.chunk(3):
            some = mask[rows, : int(mask[rows].sum(1).max())]
            queries = self.net.query_tokens.expand(len(rows), -1, -1)
            self.keys.share(pictures[rows])
            read = self.net.qformer(
                query_embeds=self.net.embeddings(input_ids=ids[rows, : some.shape[1]], query_embeds=queries),
                query_length=QUERIES, attention_mask=torch.cat([torch.ones_like(some[:, :1]).expand(-1, QUERIES), some], 1),
                encoder_hidden_states=features[pictures[rows]]).last_hidden_state
            parts.append(self.net.itm_head(read[:, :QUERIES]).mean(1))
        self.keys.share(None)
        return torch.cat(parts)[order.argsort()]

    def loss(self, batch):
        features, ids, mask = batch["features"].float(), batch["input_ids"], batch["attention_mask"]
        count = len(features)
        similar = torch.einsum("pqw,tw->tpq", self.image_embeds(features), self.text_embeds(ids, mask)).amax(-1)
        logits = similar / self.heat.exp().clamp(0.01, 0.5)
        own = torch.arange(2 * count, device=ids.device) % count
        right = logits[: 2 * count].gather(1, own[:, None])[:, 0]
        wrong = logits.masked_fill(~batch["itc_negative"], -torch.inf)
        to_text = (torch.logaddexp(wrong.logsumexp(0)[own], right) - right).mean()
        to_image = (torch.logaddexp(wrong[: 2 * count].logsumexp(1), right) - right).mean()

        weights = logits.detach().masked_fill(~batch["itm_negative"], -torch.inf)
        texts = own[:count] + count * torch.randint(2, (count,), device=ids.device)  # one of each picture's true ones
        other_texts = torch.multinomial(weights.softmax(0).T, 1)[:, 0]
        other_pictures = torch.multinomial(weights[texts].softmax(1), 1)[:, 0]
        pictures = torch.cat([own[:count], own[:count], other_pictures])
        rows = torch.cat([texts, other_texts, texts])
        matched = self.match_logits(features, pictures, ids[rows], mask[rows])
        truth = torch.zeros(len(rows), dtype=torch.long, device=ids.device)
        truth[:count] = 1
        matching = functional.cross_entropy(matched, truth)
        found = (matched.argmax(1) == truth).float().mean()
        figures = {"to_text": to_text, "to_image": to_image, "matching": matching, "matched": found, "heat": self.heat.exp()}
        return (to_text + to_image) / 2 + matching, {name: value.detach() for name, value in figures.items()}


@functools.lru_cache(maxsize=1)
def _check(scenes: int = 240) -> tuple[torch.Tensor, list[Scene], dict[str, torch.Tensor]]:
    drawn = [sample_scene(np.random.default_rng((0, 1, i))) for i in range(scenes)]
    images = torch.from_numpy(np.stack([render(scene)[0] for scene in drawn]))
    return images, drawn, batch_of(np.random.default_rng((0, 2)), drawn)


def evaluate(stage: RetrievalStage) -> dict[str, float]:
    """Captions of unseen scenes: share of first places; true and false sentences: share that the matching head tells."""
    images, drawn, batch = _check()
    device, count = stage.heat.device, len(drawn)
    features = stage.net.vision_model(pixels_of(images.to(device))).last_hidden_state
    ids, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
    similar = torch.einsum("pqw,tw->tpq", stage.image_embeds(features), stage.text_embeds(ids, mask)).amax(-1)[:count].cpu()
    wrong = batch["itc_negative"][:count]
    own = similar.diagonal()
    first = {"image_first": (own > similar.masked_fill(~wrong, -1).amax(1)).float().mean().item(),
             "text_first": (own > similar.masked_fill(~wrong, -1).amax(0)).float().mean().item()}
    told = stage.match_logits(features, torch.arange(3 * count, device=device) % count, ids, mask).argmax(1).cpu()
    return first | {"true_caption": told[:count].float().mean().item(),
                    "true_short": told[count : 2 * count].float().mean().item(),
                    "false": 1 - told[2 * count :].float().mean().item()}
