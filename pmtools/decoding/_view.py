"""A view of a model: an object of a subclass of the model's class that shares the model's state. The model does not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def view_of(model: Any, members: Mapping[str, Any], /, **state: Any) -> Any:
    """The model with some members of its class replaced.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The view shares its parameters, configuration and submodules.
    members : mapping
        Methods and properties of the view.
    **state
        Attributes of the view only.

    Returns
    -------
    transformers.PreTrainedModel
        Its class is derived from the model's and has the same name.
    """
    kind = type(type(model).__name__, (type(model),), {**members, "__module__": type(model).__module__})
    view: Any = object.__new__(kind)
    # methods that the model's instance overrides, as PEFT and accelerate do, are called on the model itself
    view.__dict__ = {**{name: value for name, value in vars(model).items() if name not in members}, **state}
    return view
