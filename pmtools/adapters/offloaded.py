"""Parameters of modules whose weights accelerate keeps elsewhere until they run.

This file knows how accelerate's hooks store weights, and nothing about models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def parameter(model: Any, name: str, /) -> torch.Tensor:
    """A parameter's values, also while the parameter itself is empty, on the device "meta".

    Parameters
    ----------
    model : torch.nn.Module
    name : str
        As in `named_parameters`.

    Returns
    -------
    tensor
        On the device where the values are.

    Raises
    ------
    ValueError
        If they are nowhere.
    """
    value: torch.Tensor = model.get_parameter(name)
    if value.device.type != "meta":
        return value
    path = name.split(".")
    for depth in reversed(range(len(path))):  # the hook of a module may hold the weights of what is inside it
        module, inside = model.get_submodule(".".join(path[:depth])), ".".join(path[depth:])
        hook = getattr(module, "_hf_hook", None)
        for single in getattr(hook, "hooks", (hook,)):
            stored = getattr(single, "weights_map", None)
            if stored is not None and inside in stored:
                found: torch.Tensor = stored[inside]
                return found
    raise ValueError(
        f"`model` must have its weights, got none for {name!r}; load it with from_pretrained, or offload it with accelerate"
    )
