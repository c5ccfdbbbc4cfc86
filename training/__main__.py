"""The schedule: one seeded, resumable command that trains the demo model from nothing.

    python -m training --out DIR [--hours 3] [--seed 0] [--without warps] [--device cuda --batch-factor 8 --workers 12]

Two stages: pictures (patch labels), then questions. The number of steps follows from `--hours` alone, at the speed of
one core of 2025, so a run depends on its arguments and not on the machine. Run it again to go on after a break.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from training.batches import (
    QUESTION_SHARES,
    PictureSamples,
    QuestionSamples,
    Sizes,
    collate,
)
from training.network import Readouts, build_model, encode_pictures, informed_init, packed_pass
from training.objectives import patch_loss, question_loss
from training.packaging import save_demo_model

PICTURE_BATCH, QUESTION_BATCH = 32, 8
PICTURE_SECONDS, QUESTION_SECONDS = 0.52, 0.45  # nominal seconds a step, measured on one core (AMD EPYC)
ABLATIONS = ("warps", "localisation")
PICTURE_SHARE = 0.27  # of the hours
PICTURE_SIZES = Sizes(start=40, end=12, begin=0.2, finish=0.8)
QUESTION_SIZES = Sizes(start=28, end=12, begin=0.35, finish=0.8)


def main() -> None:
    """Parse the arguments and train."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, the log and the result")
    parser.add_argument("--hours", type=float, default=3.0, help="nominal length on one CPU core; sets the steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw pictures")
    parser.add_argument("--batch-factor", type=int, default=1, help="times larger batches (and as many more pictures)")
    parser.add_argument("--rate-factor", type=float, default=1.0, help="times the learning rate")
    parser.add_argument(
        "--without",
        action="append",
        choices=ABLATIONS,
        default=[],
        help="leave out warps of pictures, or the losses of where to look",
    )
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=float, default=60.0, help="seconds between checkpoints")
    train(parser.parse_args())


def train(options: argparse.Namespace) -> None:
    """Train both stages, resuming where the folder says."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    model = build_model(width=options.width)
    informed_init(model, seed=options.seed)
    readouts = Readouts(options.width)
    model.to(options.device).train()
    readouts.to(options.device)
    seconds = 3600 * options.hours
    stages = {
        "pictures": max(2, round(seconds * PICTURE_SHARE / PICTURE_SECONDS)),
        "questions": max(2, round(seconds * (1 - PICTURE_SHARE) / QUESTION_SECONDS)),
    }
    path = options.out / "checkpoint.pt"
    saved = torch.load(path, map_location=options.device, weights_only=True) if path.exists() else None
    if saved:
        model.load_state_dict(saved["model"])
        readouts.load_state_dict(saved["readouts"])
    names = list(stages)
    for stage in names[names.index(saved["stage"]) if saved else 0 :]:
        resume = saved if saved and saved["stage"] == stage else None
        _run_stage(stage, stages[stage], model, readouts, options, resume)
    save_demo_model(model, options.out / "model")


def _run_stage(
    stage: str, steps: int, model: Any, readouts: Readouts, options: argparse.Namespace, resume: dict[str, Any] | None
) -> None:
    batch = (PICTURE_BATCH if stage == "pictures" else QUESTION_BATCH) * options.batch_factor
    warps, fade = "warps" not in options.without, float("localisation" not in options.without)
    if stage == "pictures":
        data: Any = PictureSamples(steps * batch, seed=options.seed, sizes=PICTURE_SIZES, warps=warps)
    else:
        data = QuestionSamples(steps * batch, seed=options.seed, sizes=QUESTION_SIZES, batch=batch, warps=warps)
    optimizer = _optimizer(stage, model, readouts, options.rate_factor)
    start = 0
    if resume:
        start = resume["step"]
        optimizer.load_state_dict(resume["optimizer"])
    loader = DataLoader(
        Subset(data, range(start * batch, steps * batch)),
        batch_size=batch,
        num_workers=options.workers,
        collate_fn=collate,
        persistent_workers=options.workers > 0,
        prefetch_factor=4 if options.workers else None,
    )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    log, notes = (options.out / "log.jsonl").open("a"), _Notes()
    began = last_save = time.monotonic()
    for step, samples in enumerate(loader, start=start):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _rate(step, steps)
        samples = {key: value.to(options.device, non_blocking=True) for key, value in samples.items()}
        seen: dict[str, Any]
        if stage == "pictures":
            loss, seen = _picture_step(model, readouts, samples)
        else:
            generator = torch.Generator().manual_seed(step)
            loss, seen = _question_step(model, readouts, samples, step / steps, generator, fade=fade)
            notes.answers(samples, seen.pop("_right"))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        seen["gradient"] = float(torch.nn.utils.clip_grad_norm_(parameters, 2.0))
        optimizer.step()
        notes.add({"loss": loss.item()} | seen)
        final = step == steps - 1
        if step % 50 == 49 or final:
            line = {"stage": stage, "step": step + 1, "of": steps, "s": round(time.monotonic() - began)} | notes.take()
            log.write(json.dumps(line) + "\n")
            log.flush()
            print(line, flush=True)  # noqa: T201
        if time.monotonic() - last_save > options.save_every or final:
            last_save = time.monotonic()
            _save(options.out / "checkpoint.pt", stage, step + 1, model, readouts, optimizer)
    log.close()


def _optimizer(stage: str, model: Any, readouts: Readouts, factor: float) -> torch.optim.Optimizer:
    vision = [*model.model.vision_tower.parameters()]
    projector = [*model.model.multi_modal_projector.parameters()]
    text = [*model.model.language_model.parameters(), *model.lm_head.parameters()]
    heads = [*readouts.parameters()]
    if stage == "pictures":
        groups = [{"params": [*vision, *projector, *heads], "peak": 2e-3 * factor}]
    else:
        groups = [
            {"params": vision, "peak": 6e-4 * factor},
            {"params": [*projector, *text, *heads], "peak": 1.3e-3 * factor},
        ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.02)


def _rate(step: int, steps: int) -> float:
    """Warm-up, then a cosine down to 2 %."""
    return min(1.0, (step + 1) / 80) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _picture_step(model: Any, readouts: Readouts, samples: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    vision, projected = encode_pictures(model, samples["pixels"])
    first = {key: value[:, None] for key, value in samples.items() if key != "pixels"}
    loss, seen = patch_loss(readouts.vision, vision, first)
    again, notes = patch_loss(readouts.projected, projected, first)
    return loss + 0.5 * again, seen | {f"{key}_projected": value for key, value in notes.items()}


def _question_step(
    model: Any,
    readouts: Readouts,
    samples: dict[str, Tensor],
    progress: float,
    generator: torch.Generator,
    *,
    fade: float,
) -> tuple[Tensor, dict[str, Any]]:
    # half of the plain questions may look only with their last token: this is where PM reads its heatmap
    share = float(np.interp(progress, [0.6, 0.9], [0.5, 0.15]))
    lookup = torch.rand(samples["last"].shape, generator=generator).to(samples["last"].device) < share
    lookup &= ~samples["pair"] & (samples["counted"] < 0)
    done = packed_pass(model, samples["pixels"], samples["ids"], samples["last"], lookup)
    loss, seen = question_loss(readouts, done, samples, lookup, fade=fade)
    index = samples["last"][:, :, None, None].expand(-1, -1, 1, done.logits.shape[-1])
    right = done.logits.detach().gather(2, index)[:, :, 0].argmax(-1) == samples["answers"]
    return loss, seen | {"_right": right}


class _Notes:
    """Running means between two lines of the log."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)

    def add(self, seen: dict[str, float]) -> None:
        for key, value in seen.items():
            self.values[key].append(value)

    def answers(self, samples: dict[str, Tensor], right: Tensor) -> None:
        for k, name in enumerate(QUESTION_SHARES):
            asked = samples["category"] == k
            self.values[f"acc_{name}"].extend(right[asked].float().tolist())

    def take(self) -> dict[str, float]:
        means = {key: round(float(np.nanmean(value)), 4) for key, value in self.values.items() if value}
        self.values.clear()
        return means


def _save(path: Path, stage: str, step: int, model: Any, readouts: Readouts, optimizer: Any) -> None:
    state = {
        "stage": stage,
        "step": step,
        "model": model.state_dict(),
        "readouts": readouts.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)  # a kill in between leaves the old one


if __name__ == "__main__":
    main()
