"""One loop for all stages: batches made by worker processes, a rate that rises, stays and falls, states to resume from."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import torch
import torch.distributed as distributed

from optimiser import Muon


MEET_EVERY = 16  # steps that several processes take on their own before they average what they have learned


class _Batches(torch.utils.data.Dataset):
    """Batch number -> batch; a batch depends on nothing but its number, so a resumed run sees what it would have seen."""

    def __init__(self, make, first: int, last: int, rank: int, ranks: int):
        self.make, self.first, self.last, self.rank, self.ranks = make, first, last, rank, ranks

    def __len__(self):
        return self.last - self.first

    def __getitem__(self, index):
        return self.make((self.first + index) * self.ranks + self.rank)


def batches(make, first: int, last: int, rank: int = 0, ranks: int = 1, workers: int = 1):
    data = _Batches(make, first, last, rank, ranks)
    return torch.utils.data.DataLoader(
        data, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None,
        worker_init_fn=lambda _: torch.set_num_threads(1),
    )


class Trainer:
    """Trains `module` with `module.loss(batch) -> (loss, figures)`.

    The rate rises for `warmup` steps, stays, and falls to nothing over the last `fall` steps. The state just before the
    fall is kept as NAME.trunk.pt: a longer training goes on from there, not from the end of the fall.
    With `average`, a running average of the weights is kept and evaluated; it is better than the weights themselves as
    long as the rate is high.
    """

    def __init__(self, name, module, make_batch, folder: Path, rate: float, steps: int, fall: int, warmup: int = 60,
                 evaluate=None, evaluate_every: int = 500, save_seconds: float = 150, average: float = 0.0, device="cpu"):
        self.name, self.module, self.make_batch, self.folder = name, module, make_batch, Path(folder)
        self.rate, self.steps, self.fall, self.warmup = rate, steps, fall, warmup
        self.evaluate, self.evaluate_every, self.save_seconds, self.device = evaluate, evaluate_every, save_seconds, device
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.ranks = distributed.get_world_size() if distributed.is_initialized() else 1
        self.optimiser = Muon(list(module.named_parameters()), rate)
        self.step, self.seconds, self.cpu_seconds = 0, 0.0, 0.0
        self.average_share = average
        self.average = {k: v.clone() for k, v in module.state_dict().items()} if average else {}
        self.path = self.folder / f"{name}.pt"
        self.trunk = self.folder / f"{name}.trunk.pt"
        if self.path.exists():
            state = torch.load(self.path, map_location=device, weights_only=True)
            if steps > state["steps"] and state["step"] > state["steps"] - state["fall"] and self.trunk.exists():
                state = torch.load(self.trunk, map_location=device, weights_only=True)
            self.load(state)

    def load(self, state):
        self.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = state.get("average", {}) if self.average_share else {}
        self.step, self.seconds, self.cpu_seconds = state["step"], state["seconds"], state["cpu_seconds"]

    def save(self, path: Path):
        if self.rank:
            return
        state = dict(module=self.module.state_dict(), optimiser=self.optimiser.state_dict(), step=self.step,
                     steps=self.steps, fall=self.fall, seconds=self.seconds, cpu_seconds=self.cpu_seconds)
        if self.average:
            state["average"] = self.average
        torch.save(state, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def rate_at(self, step: int) -> float:
        rising = min(1.0, (step + 1) / self.warmup)
        falling = min(1.0, (self.steps - step) / max(1, self.fall))
        return self.rate * min(rising, falling)

    def say(self, **figures):
        if self.rank:
            return
        line = dict(stage=self.name, step=self.step, minutes=round(self.seconds / 60, 1), **figures)
        with open(self.folder / f"{self.name}.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")
        print(" ".join(f"{k}={v:.3f}" if isinstance(v, float) else f"{k}={v}" for k, v in line.items()), flush=True)

    def run(self):
        if self.step >= self.steps:
            return
        started, started_cpu, saved = time.time(), time.process_time(), time.time()
        before, before_cpu = self.seconds, self.cpu_seconds
        sums, counted = {}, 0
        self.module.train()
        for batch in batches(self.make_batch, self.step, self.steps, self.rank, self.ranks):
            if self.step == (self.steps - self.fall) // MEET_EVERY * MEET_EVERY:
                self.save(self.trunk)
            for group in self.optimiser.param_groups:
                group["lr"] = self.rate_at(self.step)
            torch.manual_seed(self.step * self.ranks + self.rank)
            batch = {key: value.to(self.device) if torch.is_tensor(value) else value for key, value in batch.items()}
            loss, figures = self.module.loss(batch)
            self.module.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            self.optimiser.step()
            self._average_weights()
            self.step += 1
            together = self.ranks == 1 or self.step % MEET_EVERY == 0 or self.step == self.steps
            if together and self.ranks > 1:
                self._meet()
            self.seconds = before + time.time() - started
            self.cpu_seconds = before_cpu + time.process_time() - started_cpu
            counted += 1
            for key, value in figures.items():
                sums[key] = sums.get(key, 0.0) + float(value)
            if self.step % 100 == 0:
                self.say(rate=self.rate_at(self.step), **{k: v / counted for k, v in sums.items()})
                sums, counted = {}, 0
            if self.evaluate and (self.step % self.evaluate_every == 0 or self.step == self.steps):
                self._judge()
            if together and (time.time() - saved > self.save_seconds or self.step == self.steps):
                self.save(self.path)
                saved = time.time()

    @torch.no_grad()
    def _judge(self):
        if self.rank:
            return
        now = {k: v.clone() for k, v in self.module.state_dict().items()}
        if self.average:
            self.module.load_state_dict(self.average)
        self.module.eval()
        self.say(**self.evaluate(self.module))
        self.module.train()
        self.module.load_state_dict(now)

    @torch.no_grad()
    def _average_weights(self):
        if not self.average:
            return
        keep = min(self.average_share, (1 + self.step) / (10 + self.step))
        weights = self.module.state_dict()
        torch._foreach_lerp_(list(self.average.values()), [weights[k] for k in self.average], 1 - keep)

    @torch.no_grad()
    def _meet(self):
        """Replaces the weights and the optimiser's moments by their means over all processes."""
        tensors = [p.data for p in self.module.parameters() if p.requires_grad]
        for memory in self.optimiser.state.values():
            tensors += [value for value in memory.values() if torch.is_tensor(value)]
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.ranks
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
            tensor.copy_(part.view_as(tensor))
