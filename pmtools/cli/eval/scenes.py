"""`pmtools eval scenes`: questions with exact answers about synthetic pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from pmtools.cli import options as opt
from pmtools.cli.console import quoted, stderr
from pmtools.cli.eval import options as shared
from pmtools.cli.models import load_model
from pmtools.cli.tables import print_json, print_table
from pmtools.evaluation.scenes.report import BASELINE

#: What is shown unless somebody asks for more: plain, the method, its simplest ablation, an alternative, a control.
FIVE = (BASELINE, "pm", "pm-single-layer", "crop", "shuffled")


def scenes(
    *,
    methods: shared.MethodsOption = None,
    out: shared.OutOption,
    limit: Annotated[int, opt.value("N", "Number of questions.", min=1)] = 3300,
    seed: shared.SeedOption = 0,
    split: Annotated[
        Literal["test", "tune"], opt.value("test|tune", "Choose settings on one, report on the other.")
    ] = "test",
    side: Annotated[
        int, opt.value("N", "Pixels a side of the pictures, which are drawn at 384.", min=1, max=384)
    ] = 384,
    model: shared.ModelOption = None,
    device: shared.DeviceOption = None,
    settings: shared.SettingsOption = None,
    clip: shared.ClipOption = None,
    batch_size: shared.BatchOption = None,
    max_new_tokens: shared.TokensOption = 16,
    all_rows: Annotated[bool, opt.flag("Every row, and accuracy by category.", "--all")] = False,
    as_json: shared.JsonOption = False,
) -> None:
    """Questions with exact answers about synthetic pictures: accuracy by category and object size, against greedy.

    Without `--methods`: greedy, PM and its ablations, the alternatives and the controls; five of them are shown, and all
    with `--all`. `--methods all` adds the others.
    """
    from pmtools.evaluation.methods import METHODS, USUAL
    from pmtools.evaluation.scenes import scene_items
    from pmtools.evaluation.scenes.benchmark import evaluate_scenes

    names = shared.read_methods(methods, default=USUAL, known=METHODS, clip=clip)
    opt.check_folder(out, "--out")
    with shared.reported():
        loaded = load_model(model, device, command="eval", settings=settings)
        # the embedded model's answers are single tokens, and it knows no word of an instruction
        answer = shared.answers_of(
            loaded,
            text=lambda item: item.instruction if loaded.demo is None else item.question.text,
            seed=seed,
            max_new_tokens=max_new_tokens,
            clip=clip,
        )
        if loaded.demo is None:
            names = shared.usable_methods(names, methods, answer, next(scene_items(seed=seed, split=split)))
    with shared.reported(), shared.bar(limit * len(names)) as step:
        summary = evaluate_scenes(
            answer,
            methods=names,
            out=out,
            limit=limit,
            seed=seed,
            split=split,
            side=side,
            batch_size=batch_size or shared.usual_batch(loaded),
            progress=step,
        )
    if as_json:
        print_json({"methods": {name: _for_programs(name, entry) for name, entry in summary["methods"].items()}})
        return
    typer.echo(f"scenes, n = {limit}, seed {seed}, {split}, {side} pixels")
    found = summary["methods"]
    shown = found if all_rows or methods is not None else {name: found[name] for name in FIVE if name in found}
    _print_scenes(shown, closing=_closing(found))
    if all_rows:
        _print_categories(found)
    stderr().print(f"wrote answers, tables and plots to {quoted(out)}")


def _for_programs(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What `--json` has of a method; greedy differs from itself by nothing, and without greedy nothing is compared."""
    itself = {"difference": 0.0, "z": 0.0, "p": 1.0} if name == BASELINE else None
    test = entry.get(f"vs_{BASELINE}", itself)
    kept = {key: entry[key] for key in ("n", "accuracy", "by_category", "by_size")}
    return {**kept, f"vs_{BASELINE}": test and {key: test[key] for key in ("difference", "z", "p")}}


def _print_scenes(methods: Mapping[str, Mapping[str, Any]], *, closing: str) -> None:
    sizes = [*next(iter(methods.values()))["by_size"]]
    rows = []
    for name, entry in methods.items():
        low, high = entry["interval"]
        test = entry.get(f"vs_{BASELINE}")
        against = [f"{test['difference']:+.3f}", f"{test['z']:.1f}", f"{test['p']:.1g}"] if test else ["", "", ""]
        by_size = [f"{entry['by_size'][size]:.3f}" for size in sizes]
        rows.append([name, f"{entry['accuracy']:.3f}", f"{low:.3f}-{high:.3f}", *by_size, *against])
    print_table(
        ["method", "all", "95 %", *sizes, f"vs\n{BASELINE}", "z", "p"],
        rows,
        narrow=True,
        legend=f"all: share of right answers, with its interval over pictures; {', '.join(sizes)}: by the size of what is "
        f"asked about; vs {BASELINE}: difference on the same questions, z and p by McNemar.",
        closing=closing,
    )


def _closing(methods: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence: what the first method does that is not the baseline."""
    others = [name for name, entry in methods.items() if f"vs_{BASELINE}" in entry]
    if not others:
        return ""
    name, test = others[0], methods[others[0]][f"vs_{BASELINE}"]
    return (
        f"Of {test['n']} questions, {BASELINE} answers {methods[BASELINE]['accuracy']:.1%} right and {name} "
        f"{methods[name]['accuracy']:.1%}: {test['won']} fixed, {test['lost']} newly wrong."
    )


def _print_categories(methods: Mapping[str, Mapping[str, Any]]) -> None:
    categories = [*next(iter(methods.values()))["by_category"]]
    rows = [[name, *(f"{e['by_category'][category]:.3f}" for category in categories)] for name, e in methods.items()]
    print_table(["method", *(category.replace("_", "\n") for category in categories)], rows, narrow=True)
