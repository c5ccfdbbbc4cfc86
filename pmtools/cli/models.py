"""Models by folder or hub name, for the commands that need one."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pmtools import io
from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, in_options, quoted, usage_error

MODEL = "Model"

ModelOption: TypeAlias = Annotated[
    str | None, opt.value("PATH", "Folder or hub name of the model. Default: the embedded one.", panel=MODEL)
]
DeviceOption: TypeAlias = Annotated[
    str | None, opt.value("DEVICE", "cpu, cuda, ... Default: a GPU where there is one.", panel=MODEL)
]
SettingsOption: TypeAlias = Annotated[
    Path | None,
    opt.value("FILE", "How PM looks: what `pmtools calibrate` wrote.", panel=MODEL, exists=True, dir_okay=False),
]


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode on its device.

    Attributes
    ----------
    name : str
        Without the folders of this machine.
    model : transformers.PreTrainedModel
    processor : transformers processor
    settings : dict
        Arguments of `PerceptionMagnifier` that were chosen for the model.
    alternatives : dict of str to dict
        `gain` and `kernel_size` that were chosen for alternatives.
    demo : DemoModel or None
        The embedded model, or one trained in its place, if it is that.
    """

    name: str
    model: Any
    processor: Any
    settings: dict[str, Any]
    alternatives: dict[str, dict[str, Any]] = field(default_factory=dict)
    demo: Any = None


def load_model(name: str | None, device: str | None, *, command: str, settings: Path | None = None) -> LoadedModel:
    """The model of `--model`, or the embedded one; on `--device`, or a GPU where there is one.

    What the file of `--settings` says goes before what was chosen for the model.

    Raises
    ------
    CommandError
        If packages are missing, or device or model cannot be used.
    """
    if settings is not None:
        own = _read_settings(settings)
        loaded = load_model(name, device, command=command)
        return replace(loaded, settings=loaded.settings | own)
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise CommandError(f"`pmtools {command}` needs {error.name}: pip install 'pmtools[hf]'") from None
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError) as error:
        raise usage_error(f"{where!r} cannot be used: {str(error).splitlines()[0]}", "--device") from None
    transformers.utils.logging.disable_progress_bar()
    from pmtools import zoo

    if name is None:
        try:
            demo = zoo.demo_model()
        except FileNotFoundError as error:
            raise CommandError(str(error)) from None
        return _loaded_demo("demo model", demo, where)
    if (Path(name).is_absolute() or name.startswith(".")) and not Path(name).is_dir():
        raise CommandError(f"--model: there is no folder {quoted(name)}", exit_code=1)
    short = Path(name).resolve().name if Path(name).is_dir() else name
    try:
        processor = transformers.AutoProcessor.from_pretrained(name)
        if _speaks_as_the_demo(processor) and Path(name).is_dir():
            demo = zoo.demo_model(name)
            return _loaded_demo(short, demo, where)
        model = transformers.AutoModelForImageTextToText.from_pretrained(name, dtype="auto")
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise CommandError(
            f"--model: cannot load {name!r}: {str(error).strip().splitlines()[0]}", exit_code=1
        ) from None
    return LoadedModel(short, model.to(where).eval(), processor, {})


def _read_settings(path: Path) -> dict[str, Any]:
    """Arguments of `PerceptionMagnifier` from a JSON file."""
    from pmtools.decoding import PerceptionMagnifier

    try:
        found = io.read_json(path)
    except io.ImageFileError as error:
        raise usage_error(str(error), "--settings") from None
    known = {
        name for name, one in inspect.signature(PerceptionMagnifier).parameters.items() if one.default != one.empty
    }
    if not isinstance(found, dict) or set(found) - known:
        what = ", ".join(sorted(set(found) - known)) if isinstance(found, dict) else type(found).__name__
        raise usage_error(
            f"{quoted(path)} must hold one JSON object of PM's options, got {what}; `pmtools calibrate` writes one",
            "--settings",
        )
    return found


def _loaded_demo(name: str, demo: Any, where: str) -> LoadedModel:
    return LoadedModel(name, demo.model.to(where), demo.processor, dict(demo.settings), demo.alternatives, demo)


def _speaks_as_the_demo(processor: Any) -> bool:
    """Whether a model was trained as the embedded one: its words are all there are."""
    from pmtools.zoo.vocabulary import TOKEN_IDS

    vocabulary: Any = getattr(getattr(processor, "tokenizer", None), "get_vocab", dict)()
    return bool(vocabulary == TOKEN_IDS)


def demo_prompt(demo: Any, question: str) -> str:
    """The text that the embedded model takes for a question.

    Raises
    ------
    CommandError
        If the model does not know its words; the message lists those that it does, and says that other models know more.
    """
    from pmtools.zoo import UnknownWordsError

    try:
        return str(demo.prompt(question))
    except UnknownWordsError as error:
        raise CommandError(in_options(f"{error}. Another model (`--model`) knows more")) from None
