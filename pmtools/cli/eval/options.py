"""What the commands of `pmtools eval` share: options, names of methods, what they do about folders and errors."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pmtools import io
from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, in_options, one_line, progress, quoted, stderr, usage_error
from pmtools.cli.models import LoadedModel
from pmtools.cli.tables import print_json

if TYPE_CHECKING:
    from pmtools.evaluation.answering import Answerer
    from pmtools.evaluation.model_answers import ModelAnswers

MethodsOption = Annotated[str | None, opt.value("NAMES", "Methods, with commas between, or `all`.", show_default=False)]
OutOption = Annotated[Path, opt.value("DIR", "Folder of answers, tables and plots; a run goes on from what is there.")]
ModelOption = Annotated[
    str | None, opt.value("PATH", "Folder or hub name of the model. Default: the embedded one.", show_default=False)
]
DeviceOption = Annotated[
    str | None, opt.value("DEVICE", "cpu, cuda, ... Default: a GPU where there is one.", show_default=False)
]
SettingsOption = Annotated[
    Path | None,
    opt.value("FILE", "How PM looks: what `pmtools calibrate` wrote.", exists=True, dir_okay=False, show_default=False),
]
BatchOption = Annotated[
    int | None, opt.value("N", "Questions at a time. Default: 8, the embedded model 48.", min=1, show_default=False)
]
ClipOption = Annotated[
    str | None, opt.value("PATH", "Folder or hub name of a CLIP, for the method api-c.", show_default=False)
]
PixelsOption = Annotated[
    int | None,
    opt.value(
        "N",
        "Most pixels of an image for the model. Default: as many as its processor gives it.",
        min=1,
        show_default=False,
    ),
]
SeedOption = Annotated[int, opt.value("S", "Of the benchmark, random controls and noise.", min=0)]
TokensOption = Annotated[int, opt.value("N", "Longest answer, in tokens; the embedded model always gives one.", min=1)]
DataOption = Annotated[
    Path, opt.value("DIR", "The benchmark as published: questions and pictures.", exists=True, file_okay=False)
]
QuestionsOption = Annotated[
    Path | None, opt.value("FILE", "Its questions, JSON lines. Default: what is in DIR.", exists=True, dir_okay=False)
]
LimitOption = Annotated[int | None, opt.value("N", "Only the first N questions of a file.", min=1)]
InstructionOption = Annotated[str, opt.value("TEXT", "What is added to every question.")]
JsonOption = Annotated[bool, opt.flag("Print one JSON object instead of tables.", "--json")]


@dataclass(frozen=True, kw_only=True)
class Answering:
    """The options of every command that has a model answer questions about the pictures of a folder."""

    data: DataOption
    out: OutOption
    methods: MethodsOption = None
    model: ModelOption = None
    device: DeviceOption = None
    settings: SettingsOption = None
    clip: ClipOption = None
    max_pixels: PixelsOption = None
    limit: LimitOption = None
    seed: SeedOption = 0
    batch_size: BatchOption = None
    max_new_tokens: TokensOption = 16
    as_json: JsonOption = False


def read_methods(text: str | None, *, default: Iterable[str], known: Iterable[str], clip: str | None) -> list[str]:
    """The names in `--methods`, each once, all of them known; `api-c` is one where there is a CLIP."""
    possible = [name for name in known if clip is not None or name != "api-c"]
    names = [name.strip() for name in text.split(",")] if text is not None else list(default)
    if names == ["all"]:
        return possible
    for name in names:
        if name == "api-c" and clip is None:
            raise usage_error("'api-c' needs a CLIP model; give --clip", "--methods")
        if name not in possible:
            raise usage_error(f"{name!r} is not a method; choose from {', '.join(possible)}, or all", "--methods")
        if names.count(name) > 1:
            raise usage_error(f"{name!r} is named twice", "--methods")
    return names


def usable_methods(names: list[str], given: str | None, answer: Answerer, item: Any) -> list[str]:
    """The methods that the model can run, tried on one item; those that the user named stay, whatever they do.

    The others are left out with a line on stderr.
    """
    from pmtools.evaluation.model_answers import UnusableMethodError

    if given not in {None, "all"}:
        return names
    usable = []
    for name in names:
        try:
            answer([item], [name])
            usable.append(name)
        except UnusableMethodError as error:
            stderr().print(f"left out: {one_line(str(error))}")
    if not usable:
        raise CommandError("the model can run none of the methods")
    return usable


def answers_of(loaded: LoadedModel, *, max_new_tokens: int, **options: Any) -> ModelAnswers:
    """The answerer of a model, with what was chosen for it; `settings` among the options go first.

    The embedded model answers with single tokens.
    """
    from pmtools.evaluation.model_answers import ModelAnswers

    if loaded.demo is not None:
        import torch

        torch.set_num_threads(1)  # more of them get into each other's way in a model this small
        max_new_tokens = 1
    return ModelAnswers(
        loaded.model,
        loaded.processor,
        name=loaded.name,
        settings={**loaded.settings, **options.pop("settings", {})},
        alternatives=loaded.alternatives,
        max_new_tokens=max_new_tokens,
        **options,
    )


def usual_batch(loaded: LoadedModel) -> int:
    """Questions at a time, where nothing is said."""
    return 8 if loaded.demo is None else 48


@contextlib.contextmanager
def bar(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar of answers."""
    with progress(total, "answering") as (_, step):
        yield step


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """What goes wrong on the way, in one line; what is answered is on disk."""
    from pmtools.evaluation.json_lines import RecordError

    try:
        yield
    except KeyboardInterrupt:
        raise CommandError("interrupted; the same command goes on from here", exit_code=130) from None
    except (RecordError, io.ImageFileError) as error:
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


def write_scores(out: Path, numbers: dict[str, Any], as_json: bool) -> None:
    """The scores of each method, into the folder and for `--json`."""
    from pmtools.evaluation.answering import write_whole

    with reported():
        write_whole(out / "summary.json", json.dumps({"methods": numbers}, indent=2) + "\n")
    if as_json:
        print_json({"methods": numbers})
    else:
        stderr().print(f"wrote questions, answers and scores to {quoted(out)}")


def span(interval: tuple[float, float], digits: int) -> str:
    """An interval in a cell."""
    return "-".join(f"{end:.{digits}f}" for end in interval)
