"""`pmtools calibrate`: which attention heads of a model look at what is asked about."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pmtools import io
from pmtools.cli import options as opt
from pmtools.cli.console import progress, quoted, stderr, usage_error
from pmtools.cli.eval import options as shared
from pmtools.cli.models import demo_prompt, load_model
from pmtools.cli.tables import print_json, print_table


def calibrate(
    *,
    out: Annotated[Path, opt.value("FILE", "The settings, for `--settings` of ask, serve and eval.")],
    model: shared.ModelOption = None,
    device: shared.DeviceOption = None,
    questions: Annotated[
        Path | None,
        opt.value(
            "FILE",
            "Your pictures, JSON lines: image, question, boxes. Default: synthetic scenes.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, opt.value("N", "Questions that are asked, at most.", min=4)] = 264,
    seed: Annotated[int, opt.value("S", "Of the scenes.", min=0)] = 101,
    batch_size: shared.BatchOption = None,
    as_json: shared.JsonOption = False,
) -> None:
    """Find the layers and heads that look at what is asked about, and the tokens that are looked at whatever is asked.

    Asks questions whose boxes are known; half of them rank the heads, half choose how many, or the first layer.
    """
    from pmtools.evaluation.boxed_questions import read_boxed_questions
    from pmtools.evaluation.calibration import calibrate as find
    from pmtools.evaluation.scenes import scene_items

    if out.is_dir():
        raise usage_error(f"{quoted(out)} is a folder; name a file", "--out")
    with shared.reported():
        items: list[Any]
        if questions is None:
            items = list(scene_items(seed=seed, limit=limit, split="tune"))
        else:
            items = list(read_boxed_questions(questions)[:limit])
        loaded = load_model(model, device, command="calibrate")
        plain = loaded.demo is not None  # which knows no word of an instruction

        def text(item: Any) -> str:
            if questions is not None:
                return str(item.text)
            return str(item.question.text if plain else item.instruction)

        if plain:
            for item in items:
                demo_prompt(loaded.demo, text(item))
        answers = shared.answers_of(loaded, text=text, max_new_tokens=1)
        with progress(len(items), "looking") as (_, step):
            found = find(answers, items, batch_size=batch_size or shared.usual_batch(loaded), progress=step)
        io.write_json(found.settings, out)
    if as_json:
        print_json(
            {"settings": found.settings, "looks": found.looks, "chosen": asdict(found.chosen)}
            | {"candidates": [{"settings": each, **asdict(scores)} for each, scores in found.candidates]}
        )
        return
    rows = [["no settings", *_cells(found.auto)]]
    rows += [[_name(each), *_cells(scores)] for each, scores in found.candidates]
    typer.echo(f"{loaded.name}: {found.looks} questions with boxes, half of them to choose by")
    print_table(["what counts", "inside", "times area", "pointing"], rows)
    typer.echo("inside: share of the attention in the boxes; times area: of the boxes' own share, 1 is chance")
    typer.echo("pointing: share of maps whose greatest cell meets a box")
    typer.echo(f"chosen: {_name(found.settings)}, {len(found.settings['sinks'])} sinks")
    stderr().print(f"wrote {quoted(out)}")


def _name(settings: dict[str, Any]) -> str:
    heads = settings["heads"]
    if isinstance(heads, str):
        return f"layers from {settings['start_layer']}"
    return f"{len(heads)} best heads" if len(heads) > 1 else "the best head"


def _cells(scores: Any) -> list[str]:
    return [f"{scores.inside:.3f}", f"{scores.times_area:.1f}", f"{scores.pointing:.3f}"]
