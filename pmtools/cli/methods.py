"""Decoding methods as options of commands: which there are, what each takes, and one made with the settings of its model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from pmtools.alternatives import ALTERNATIVES
from pmtools.cli import options as opt
from pmtools.cli.console import usage_error
from pmtools.cli.models import DeviceOption, LoadedModel, ModelOption, SettingsOption
from pmtools.decoding import METHODS, DecodingMethod, ImagePrompting, PerceptionMagnifier, options_like_pm

LOOK = "How it looks"

Method = StrEnum("Method", {name: name for name in METHODS})  # type: ignore[misc]  # typer wants an enumeration


class Refine(StrEnum):
    """How tokens are hidden while the model looks again."""

    EXACT = "exact"
    CACHED = "cached"
    NONE = "none"


class Refresh(StrEnum):
    """When the image is magnified again."""

    FIRST = "first"
    EVERY = "every"
    ADAPTIVE = "adaptive"


MethodOption: TypeAlias = Annotated[Method, opt.value("NAME", "One of the above.", panel=LOOK)]
RefineOption: TypeAlias = Annotated[
    Refine | None, opt.value("MODE", "Looking again: exact, cached or none.", panel=LOOK)
]
RefreshOption: TypeAlias = Annotated[Refresh | None, opt.value("WHEN", "Magnify first, every or adaptive.", panel=LOOK)]
StartLayerOption: TypeAlias = Annotated[
    int | None, opt.value("N", "First layer whose attention counts, from 1.", panel=LOOK)
]
GainOption: TypeAlias = Annotated[float | None, opt.value("X", "Contrast of the map.", panel=LOOK)]
KernelSizeOption: TypeAlias = Annotated[int | None, opt.value("N", "Smoothing window in tokens, odd.", panel=LOOK)]


@dataclass(frozen=True, kw_only=True)
class Looking:
    """The options of every command in which a method answers for one model."""

    model: ModelOption = None
    device: DeviceOption = None
    settings: SettingsOption = None
    method: MethodOption = Method["pm"]
    refine: RefineOption = None
    refresh: RefreshOption = None
    start_layer: StartLayerOption = None
    gain: GainOption = None
    kernel_size: KernelSizeOption = None

    def given(self) -> dict[str, Any]:
        """The options of the method that were given; a usage error, before anything is loaded, where it takes no such option."""
        options = {
            name: value for name, value in vars(self).items() if name not in ("model", "device", "settings", "method")
        }
        found = {name: getattr(value, "value", value) for name, value in options.items() if value is not None}
        for name in found:
            if name not in takes(METHODS[self.method.value]):
                others = [other for other, kind in METHODS.items() if name in takes(kind)]
                raise usage_error(f"is an option of --method {', '.join(others)}", "--" + name.replace("_", "-"))
        return found


def with_methods(command: Callable[..., None], /) -> str:
    """The help of a command that has `--method`: its docstring, and a line for each method."""
    lines = [f"- `{name}`: {_summary(kind)}" for name, kind in METHODS.items()]
    return "\n".join([inspect.getdoc(command) or "", "", "Methods:", "", *lines])


def _summary(kind: type) -> str:
    """The first line of a method's docstring without its link."""
    line = (inspect.getdoc(kind) or "").partition("\n")[0].partition(";")[0]
    return re.sub(r",? \[arXiv:.*?\]\(.*?\)", "", line).rstrip(".")


def shows_images(method: Method, /) -> bool:
    """Whether the model sees other images than the user's."""
    return issubclass(METHODS[method.value], PerceptionMagnifier | ImagePrompting)


def make(method: Method, loaded: LoadedModel, options: dict[str, Any], /) -> DecodingMethod:
    """The method for a model, with what was chosen for that model where the options do not say otherwise."""
    return METHODS[method.value](loaded.processor, **(_settings(method.value, loaded) | options))


def takes(kind: type) -> set[str]:
    """Names of a method's options, those of its base class too where it hands them on."""
    names: set[str] = set()
    for base in kind.__mro__:
        parameters = inspect.signature(base).parameters.values()
        names |= {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return names


def _settings(method: str, loaded: LoadedModel) -> dict[str, Any]:
    """What was chosen for the model, for the methods that look as PM looks."""
    chosen = loaded.settings
    if method == "pm":
        return dict(chosen)
    if method not in ALTERNATIVES or not chosen:
        return {}
    own = loaded.demo.alternatives.get(method, {}) if loaded.demo is not None else {}
    return options_like_pm(method, chosen) | own
