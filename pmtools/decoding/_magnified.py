"""A view of a model that decodes by a method, for code that calls `model.generate` and knows nothing about methods.

Pipelines, servers and evaluation harnesses take the view instead of the model, and the method's processor instead of
the model's own.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from pmtools import _checks
from pmtools.decoding._view import view_of
from pmtools.decoding.method import DecodingMethod


def magnified(model: Any, processor: Any, /, *, method: str | DecodingMethod = "pm", **options: Any) -> Any:
    """A view of the model whose `generate` is a decoding method; the model itself does not change.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : transformers processor
        The model's own.
    method : str or DecodingMethod, optional
        A name in `pmtools.decoding.METHODS`, or a method.
    **options
        Of the method, where it is given by its name.

    Returns
    -------
    transformers.PreTrainedModel
        With two more attributes: `method`, and `processor`, which makes inputs that carry their images. Give this
        processor to pipelines and servers. Inputs of the model's own processor need `generate(..., images=...)`.

    Raises
    ------
    TypeError, ValueError
        If the model cannot generate, the method is unknown or made with another processor, or options are out of range.

    Examples
    --------
    >>> from PIL import Image
    >>> from transformers import pipeline
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model()
    >>> view = magnified(model, tiny_processor(model))
    >>> pipe = pipeline("image-text-to-text", model=view, processor=view.processor)
    >>> found = pipe(Image.new("RGB", (64, 48)), text="What is <image>?", max_new_tokens=2)
    >>> len(view.method.last)  # steps of the method
    2
    """
    from pmtools.decoding.methods import METHODS

    if not callable(getattr(model, "generate", None)):
        raise TypeError(
            f"`model` must be a transformers model that generates, got {_checks.describe(model)}; load it with "
            "AutoModelForImageTextToText.from_pretrained"
        )
    if not isinstance(method, DecodingMethod):
        method = METHODS[_checks.choice(method, "method", METHODS)](processor, **options)
    elif options:
        raise TypeError(f"`options` must be given to the method itself, got {sorted(options)}; make it with them")
    elif processor is not method.processor and processor is not method.processor.inner:
        raise ValueError("`processor` must be the one that the method was made with; make the method with this one")
    own = getattr(type(model), "generate", None)  # None: of a wrapper, as torch.compile makes
    members = {"generate": _generate_instead_of(own)}
    return view_of(model, members, method=method, processor=method.processor, viewed=model)


@functools.lru_cache(maxsize=64)
def _generate_instead_of(own: Any) -> Any:
    """The `generate` of views of a class whose own it is; None stands for transformers'."""
    from transformers import GenerationMixin

    names = list(inspect.signature(GenerationMixin.generate).parameters)[1:]

    @functools.wraps(own or GenerationMixin.generate)
    def generate(self: Any, *inputs: Any, **given: Any) -> Any:
        # by the class's `generate`, with attributes that were set on the view since, for example its generation
        # configuration
        asked = self.viewed if own is None else view_of(self, {"generate": own})
        return self.method.generate_ids(asked, **dict(zip(names, inputs, strict=False)), **given)

    return generate
