"""`pmtools eval`: benchmarks answered by a model with several methods, resumably."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, in_options, progress, quoted, stderr, usage_error
from pmtools.cli.models import LoadedModel, load_model
from pmtools.cli.tables import print_json, print_table

app = typer.Typer(help="Answer a benchmark with several methods, resumably, and score the answers.")


@app.callback(invoke_without_command=True)
def _evaluate(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


MethodsOption = Annotated[str | None, opt.value("NAMES", "Methods, with commas between, or `all`.", show_default=False)]
OutOption = Annotated[Path, opt.value("DIR", "Folder of answers, tables and plots; a run goes on from what is there.")]
ModelOption = Annotated[
    str | None, opt.value("PATH", "Folder or hub name of the model. Default: the embedded one.", show_default=False)
]
DeviceOption = Annotated[
    str | None, opt.value("DEVICE", "cpu, cuda, ... Default: a GPU where there is one.", show_default=False)
]
BatchOption = Annotated[
    int | None, opt.value("N", "Questions at a time. Default: 8, the embedded model 48.", min=1, show_default=False)
]
SeedOption = Annotated[int, opt.value("S", "Of the benchmark, random controls and noise.", min=0)]
TokensOption = Annotated[int, opt.value("N", "Longest answer, in tokens.", min=1)]
JsonOption = Annotated[bool, opt.flag("Print one JSON object instead of tables.", "--json")]


@app.command()
def scenes(
    *,
    methods: MethodsOption = None,
    out: OutOption,
    limit: Annotated[int, opt.value("N", "Number of questions.", min=1)] = 3300,
    seed: SeedOption = 0,
    split: Annotated[
        Literal["test", "tune"], opt.value("test|tune", "Choose settings on one, report on the other.")
    ] = "test",
    model: ModelOption = None,
    device: DeviceOption = None,
    batch_size: BatchOption = None,
    max_new_tokens: TokensOption = 16,
    as_json: JsonOption = False,
) -> None:
    """Questions with exact answers about synthetic pictures: accuracy by category and object size, against greedy.

    Without `--methods`: greedy, PM and its ablations, the alternatives and the controls. `all` adds the rivals.
    """
    from pmtools.evaluation import generation, scene_methods
    from pmtools.evaluation.runner import evaluate_scenes

    names = _read_methods(methods, default=scene_methods.METHODS, known=generation.METHODS)
    _check_folder(out)
    loaded = load_model(model, device, command="eval")
    with _reported(), _bar(limit * len(names)) as step:
        summary = evaluate_scenes(
            _scene_answers(loaded, seed, max_new_tokens),
            methods=names,
            out=out,
            limit=limit,
            seed=seed,
            split=split,
            batch_size=batch_size or _batch_size(loaded),
            progress=step,
        )
    if as_json:
        print_json({"methods": {name: _of_issue(entry) for name, entry in summary["methods"].items()}})
        return
    _print_scenes(summary["methods"], f"scenes, n = {limit}, seed {seed}, {split}")
    stderr().print(f"wrote answers, tables and plots to {quoted(out)}")


def _scene_answers(loaded: LoadedModel, seed: int, max_new_tokens: int) -> Any:
    """The embedded model answers most methods with plain batched passes; all else is generated."""
    from pmtools.evaluation import generation, scene_methods

    options: dict[str, Any] = {"settings": loaded.settings, "seed": seed, "name": loaded.name}
    if loaded.demo is None:
        return generation.GeneratedAnswers(
            loaded.model,
            loaded.processor,
            text=lambda item: item.instruction,
            max_new_tokens=max_new_tokens,
            **options,
        )
    import torch

    torch.set_num_threads(1)  # more of them get into each other's way in a model this small
    batched = scene_methods.SceneMethods(
        loaded.model, loaded.processor, settings=scene_methods.Settings(**loaded.settings), seed=seed, name=loaded.name
    )
    # its answers are single tokens, and it knows no word of an instruction
    generated = generation.GeneratedAnswers(
        loaded.model, loaded.processor, text=lambda item: item.question.text, max_new_tokens=1, **options
    )
    return generation.Routes((scene_methods.METHODS, batched), (generation.METHODS, generated))


def _of_issue(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What `--json` promises of a method's numbers; greedy differs from itself by nothing."""
    test = entry.get("vs_greedy", {"difference": 0.0, "z": 0.0, "p": 1.0})
    kept = {name: entry[name] for name in ("n", "accuracy", "by_category", "by_size")}
    return {**kept, "vs_greedy": {name: test[name] for name in ("difference", "z", "p")}}


def _print_scenes(methods: Mapping[str, Mapping[str, Any]], title: str) -> None:
    sizes, categories = ([*next(iter(methods.values()))[key]] for key in ("by_size", "by_category"))
    rows = []
    for name, entry in methods.items():
        low, high = entry["interval"]
        test = entry.get("vs_greedy")
        against = [f"{test['difference']:+.3f}", f"{test['z']:.1f}", f"{test['p']:.1g}"] if test else ["", "", ""]
        by_size = [f"{entry['by_size'][size]:.3f}" for size in sizes]
        rows.append([name, f"{entry['accuracy']:.3f}", f"{low:.3f}-{high:.3f}", *by_size, *against])
    typer.echo(title)
    print_table(["method", "all", "95 %", *sizes, "vs\ngreedy", "z", "p"], rows, narrow=True)
    rows = [[name, *(f"{e['by_category'][category]:.3f}" for category in categories)] for name, e in methods.items()]
    print_table(["method", *(category.replace("_", "\n") for category in categories)], rows, narrow=True)


# -------------------------------------------------------------------------------------------------- what they share


def _read_methods(
    text: str | None, *, default: Sequence[str] | Mapping[str, Any], known: Mapping[str, Any]
) -> list[str]:
    """The names in `--methods`, each once, all of them known."""
    names = [name.strip() for name in text.split(",")] if text is not None else list(default)
    if names == ["all"]:
        return list(known)
    for name in names:
        if name not in known:
            raise usage_error(f"{name!r} is no method; they are {', '.join(known)}, or all", "--methods")
        if names.count(name) > 1:
            raise usage_error(f"{name!r} is there twice", "--methods")
    return names


def _batch_size(loaded: LoadedModel) -> int:
    return 8 if loaded.demo is None else 48


def _check_folder(out: Path) -> None:
    """Make the folder, before a model is loaded for nothing."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as error:
        raise usage_error(f"cannot write into the folder {quoted(out)}: {error.strerror or error}", "--out") from None


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    with progress(total, "answering") as (_, step):
        yield step


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """What goes wrong on the way, in one line; what is answered is on disk."""
    from pmtools.evaluation.records import RecordError

    try:
        yield
    except KeyboardInterrupt:
        raise CommandError("interrupted; the same command goes on from here", exit_code=130) from None
    except RecordError as error:
        raise CommandError(str(error), exit_code=1) from None
    except (TypeError, ValueError) as error:
        raise CommandError(in_options(str(error))) from None
    except OSError as error:
        raise CommandError(f"{error.filename or 'a file'}: {error.strerror or error}", exit_code=1) from None
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        raise CommandError(
            "not enough memory; a smaller --batch-size may do, and goes on from here", exit_code=1
        ) from None
