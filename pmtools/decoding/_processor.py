"""The processor of every method: the model's own, with images padded to their canvas and carried along as sources."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator, Sequence
from typing import Any

from pmtools.adapters.layouts import pads_to_square
from pmtools.adapters.pixels import as_pil, canvas_fill, canvas_frame


class SourceProcessor:
    """A processor whose inputs, for `generate(**inputs, custom_generate=pm)`, bring the source images with them.

    Everything but the call is the model's own processor's.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    """

    def __init__(self, processor: Any) -> None:
        self.inner = processor

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":  # copying and pickling ask before anything is there
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __call__(self, images: Any = None, text: Any = None, **options: Any) -> Any:
        """Inputs of one prompt or a list of them, padded on the left whatever the tokenizer says.

        Parameters
        ----------
        images : PIL image, or uint8 or uint16 array (H, W) or (H, W, C), or list of them or of lists
            Of each prompt, in prompt order.
        text : str or list of str
            With the image token for each image.
        **options
            Of the model's own processor.

        Returns
        -------
        transformers.BatchFeature
            With `pm_images`, the source images of each prompt.
        """
        with _left_padding(self.inner.tokenizer):
            if images is None:
                return self.inner(text=text, **options)
            nested = self.nested(images, 1 if text is None or isinstance(text, str) else len(text))
            inputs = self.inner(images=self.canvases(nested), text=text, **options)
        inputs["pm_images"] = nested
        return inputs

    def apply_chat_template(self, *arguments: Any, **options: Any) -> Any:
        """The model's own template; inputs made on the way come from this processor."""
        method = self.inner.apply_chat_template
        function = getattr(method, "__func__", None)
        return types.MethodType(function, self)(*arguments, **options) if function else method(*arguments, **options)

    def canvases(self, images: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """The images as the model's processor gets them: padded to a square where it would crop, else as they are."""
        if not pads_to_square(self.inner.image_processor):
            return [list(row) for row in images]
        fill = canvas_fill(self.inner.image_processor)
        return [
            [canvas_frame((image.height, image.width), square=True).image(image, fill=fill) for image in row]
            for row in images
        ]

    def nested(self, images: Any, prompts: int, *, upright: bool = True) -> list[list[Any]]:
        """The images of each prompt as lists of RGB PIL images, turned upright as their EXIF tags say unless told not to.

        Raises
        ------
        TypeError, ValueError
            If they are no images, or it is not clear which prompt each belongs to.
        """
        rows = list(images) if isinstance(images, list | tuple) else [images]
        if not any(isinstance(row, list | tuple) for row in rows):
            if prompts != 1 and len(rows) != prompts:
                raise ValueError(
                    f"`images` must say which of the {prompts} prompts each image belongs to: give a list of lists, or "
                    f"one image per prompt, got {len(rows)}"
                )
            rows = [rows] if prompts == 1 else [[row] for row in rows]
        if len(rows) != prompts:
            raise ValueError(f"`images` must hold one list per prompt, {prompts} of them, got {len(rows)}")
        lists = [row if isinstance(row, list | tuple) else [row] for row in rows]
        if not any(lists):
            raise ValueError(
                "`images` must hold an image at least, got none; without one, ask by the model's own `generate`"
            )
        return [[as_pil(image, upright=upright) for image in row] for row in lists]

    def sources(self, images: Any, carried: Any, prompts: int) -> list[list[Any]]:
        """The source images of each prompt, from `generate(images=...)` or from inputs of this processor.

        Raises
        ------
        TypeError, ValueError
            If there are none, or two sets of them, or the inputs were cropped on the way.
        """
        if (images is None) == (carried is None):
            raise ValueError(
                "`images` must be given once: `generate(..., images=[image], custom_generate=pm)`, or inputs made by "
                f"`pm.processor`, which carry theirs; got {'neither' if images is None else 'both'}"
            )
        # as they are: the model's own processor, which made the inputs, does not turn images
        nested = self.nested(images if carried is None else carried, prompts, upright=False)
        image_processor = self.inner.image_processor
        pads_itself = getattr(image_processor, "do_pad", False)
        if carried is None and pads_to_square(image_processor) and not pads_itself:
            for image in (image for row in nested for image in row):
                if image.width != image.height:
                    raise ValueError(
                        f"`images` holds one of {image.width} x {image.height}, but {type(image_processor).__name__} "
                        "crops its centre, so that the inputs lack what the magnifier would show; make the inputs with "
                        "`pm.processor`, which pads to a square"
                    )
        return nested

    def as_prompt(self, text: str, images: int) -> str:
        """The text with an image token for each image: as it is, or as a chat turn.

        Raises
        ------
        ValueError
            If the number of image tokens is wrong, or there is no chat template to put them in.
        """
        token = getattr(self.inner, "image_token", "<image>")
        if (found := text.count(token)) == images:
            return text
        if found or not getattr(self.inner, "chat_template", None):
            raise ValueError(f"`prompt` must hold {token!r} once per image, {images} times, got {found} times")
        content = [{"type": "image"}] * images + [{"type": "text", "text": text}]
        prompt = self.inner.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return str(prompt)


@contextlib.contextmanager
def _left_padding(tokenizer: Any) -> Iterator[None]:
    # not an argument of the call: most processors of transformers 5.23 do not hand `padding_side` on
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    try:
        yield
    finally:
        tokenizer.padding_side = side


def check_family(model: Any, processor: Any, /) -> None:
    """Refuse a processor that was made for another model.

    Raises
    ------
    ValueError
        If their image tokens differ, or the processor is another family's.
    """
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    family, name = model.config.model_type, type(processor.inner).__name__
    expected = PROCESSOR_MAPPING_NAMES.get(family)
    if expected is not None and name in PROCESSOR_MAPPING_NAMES.values() and name != expected:
        raise ValueError(
            f"`processor` must be a {expected}, for a {family} model, got a {name}; load both from the same place"
        )
    token = getattr(processor.inner, "image_token_id", None)
    wanted = getattr(model.config, "image_token_id", None)
    if token is not None and wanted is not None and token != wanted:
        raise ValueError(
            f"`processor` must mark images by token {wanted}, as the model's configuration says, got {token}; load both "
            "from the same place"
        )
