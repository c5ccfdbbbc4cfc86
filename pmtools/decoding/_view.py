"""A view of a model: an object of a subclass of the model's class that shares the model's state. The model does not change."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any


def view_of(model: Any, members: Mapping[str, Any], /, **state: Any) -> Any:
    """The model with some members of its class replaced.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The view shares its parameters, configuration and submodules.
    members : mapping
        Methods of the view. The same ones give the same class, so they hold nothing of a call: that is what `state` is
        for.
    **state
        Attributes of the view only.

    Returns
    -------
    transformers.PreTrainedModel
        Its class is derived from the model's and has the same name.
    """
    base: Any = type(model)
    view: Any = object.__new__(_kind(base, tuple(members.items())))
    # methods that the model's instance overrides, as PEFT and accelerate do, are called on the model itself
    view.__dict__ = {**{name: value for name, value in vars(model).items() if name not in members}, **state}
    return view


@functools.lru_cache(maxsize=128)
def _kind(base: type, members: tuple[tuple[str, Any], ...]) -> type:
    """The class of a view, made once: a class refers to itself, and what one of a call held would outlive the call."""
    return type(base.__name__, (base,), {**dict(members), "__module__": base.__module__})
