"""The processor of every method: the model's own, which also pads images to their canvas and keeps the sources."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pmtools.adapters.image_inputs import image_inputs
from pmtools.adapters.layouts import image_mark, pads_to_square
from pmtools.adapters.pixel_budget import pixel_budget
from pmtools.adapters.pixels import canvas_fill, canvas_frame, encode
from pmtools.adapters.source_images import SourceImages, is_unit_float, nested_images, pil_rows
from pmtools.adapters.tokenizing import in_turn


class SourceProcessor:
    """A processor whose inputs, for `generate(**inputs, custom_generate=pm)`, include the source images.

    Everything but the call comes from the model's own processor, including attributes that are set; `isinstance` takes
    it for one.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    options : mapping, optional
        Of the image processor, for every call.

    Attributes
    ----------
    inner : transformers processor
        The model's own, which is called with `options`.
    """

    inner: Any
    options: dict[str, Any]

    def __init__(self, processor: Any, options: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "inner", processor)
        object.__setattr__(self, "options", dict(options or {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("inner", "options"):  # copying asks before any attribute exists
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.inner, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.inner)  # for `isinstance` in pipelines and trainers

    def __reduce__(self) -> Any:
        return SourceProcessor, (self.inner, self.options)

    @property
    def image_processor(self) -> Any:
        """The model's own image processor; with `options`, another one that has them, to read its settings.

        Nothing is encoded with that one: its constructor may derive more from the options than a call with them does.
        """
        return _configured(self.inner.image_processor, self.options)

    def __call__(self, images: Any = None, text: Any = None, **options: Any) -> Any:
        """Inputs of one prompt or a list of them, padded on the left even if the tokenizer pads on the right.

        Parameters
        ----------
        images : image, or list of them or of lists
            Of each prompt, in prompt order: PIL images, arrays (H, W, C), tensors (C, H, W), paths, URLs or base64. A
            list of images is distributed by the image tokens of the prompts. A prompt may have none.
        text : str or list of str
            With the image token for each image.
        **options
            Of the model's own processor. Those of the image processor hold for the magnified images too.

        Returns
        -------
        transformers.BatchFeature
            With `pm_images`, the source images of each prompt.

        Raises
        ------
        TypeError, ValueError
            If something is not an image, or it is not clear which prompt each belongs to.
        """
        texts = [text] if text is None or isinstance(text, str) else list(text)
        token = getattr(self.inner, "image_token", None)
        counts = [str(item).count(token) for item in texts] if token and text is not None else None
        given = nested_images(images, len(texts), counts)
        options = self._call_options(options, [image for row in given for image in row])
        rows = pil_rows(given, data_format=_take(options, "input_data_format"))
        canvases = self.made_with(_image_options(options)).canvases(rows) if any(rows) else None
        seen: dict[str, Any] = {}
        processor = in_turn(self.inner)
        processor.image_processor = _Observer(processor.image_processor, seen)
        inputs = processor(images=canvases, text=text, **options)
        _pad_left(inputs)
        inputs["pm_images"] = SourceImages(rows, seen)
        return inputs

    def _call_options(self, options: dict[str, Any], images: Sequence[Any]) -> dict[str, Any]:
        """The options of a call and those that are always set, for 8-bit images."""
        mine = {name: value for name, value in self.options.items() if name not in options}
        theirs = options.get("images_kwargs") or {}
        if mine or theirs:
            options = {**options, "images_kwargs": {**mine, **theirs}}
        scaled = getattr(self.image_processor, "do_rescale", True)
        if _image_options(options).get("do_rescale", scaled) is False and any(map(is_unit_float, images)):
            _take(options, "do_rescale")  # floats in 0 to 1 must not be rescaled, their 8-bit copies must
            options["images_kwargs"] = {**(options.get("images_kwargs") or {}), "do_rescale": True}
        return options

    def apply_chat_template(self, *arguments: Any, **options: Any) -> Any:
        """The model's own template; inputs that it makes come from this processor."""

        def call(_: Any, *arguments: Any, **options: Any) -> Any:
            return self(*arguments, **options)

        own = type(self.inner)
        view = copy.copy(self.inner)
        view.__class__ = type(own.__name__, (own,), {"__call__": call})  # its methods look up `__call__` in the class
        return view.apply_chat_template(*arguments, **options)

    def made_with(self, options: Mapping[str, Any], /) -> SourceProcessor:
        """This processor with the image processor's options from the call that made some inputs.

        Parameters
        ----------
        options : mapping
            Those of `pm_images`, or of a call.
        """
        return SourceProcessor(self.inner, {**self.options, **options}) if options else self

    def within(self, max_pixels: int | None, /) -> SourceProcessor:
        """This processor, whose images have at most that many pixels for the model; magnified ones too, from their sources.

        Parameters
        ----------
        max_pixels : int or None
            None for the processor's own limits.

        Raises
        ------
        TypeError, ValueError
            If the processor cannot be limited; the message says why.
        """
        return self if max_pixels is None else self.made_with(pixel_budget(self, max_pixels))

    def encode(self, model: Any, images: Sequence[Sequence[Any]], /) -> dict[str, Any]:
        """The model's pixel inputs for images of each prompt, made like the inputs of a call.

        Parameters
        ----------
        model : transformers.PreTrainedModel
        images : sequence of sequences of PIL images
        """
        mark = image_mark(model, self.inner)
        return encode(model, in_turn(self.inner), self.canvases(images), self.options, mark=mark)

    def canvases(self, images: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """The images for the model's processor: padded to a square if it would crop them, otherwise unchanged."""
        image_processor = self.image_processor
        if not pads_to_square(image_processor):
            return [list(row) for row in images]
        fill = canvas_fill(image_processor)
        return [
            [canvas_frame((image.height, image.width), square=True).image(image, fill=fill) for image in row]
            for row in images
        ]

    def nested(self, images: Any, prompts: int, *, upright: bool = True) -> list[list[Any]]:
        """The images of each prompt as lists of RGB PIL images, turned upright by their EXIF tags by default.

        Raises
        ------
        TypeError, ValueError
            If they are not images, or it is not clear which prompt each belongs to.
        """
        return pil_rows(nested_images(images, prompts), upright=upright)

    def sources(
        self, model: Any, images: Any, carried: Any, prompts: int, inputs: Mapping[str, Any] | None = None
    ) -> SourceImages:
        """The source images of each prompt of a model, from `generate(images=...)` or from inputs of this processor.

        `inputs` are those of the call; pixels among them are compared with what `images` make.

        Raises
        ------
        TypeError, ValueError
            If there are none, or two sets of them, or the inputs were cropped or otherwise made.
        """
        if (images is None) == (carried is None):
            raise ValueError(
                "`images` must be given once: `generate(..., images=[image], custom_generate=pm)`, or inputs made by "
                "`pm.processor`, or the `processor` of a magnified model, which carry theirs; got "
                f"{'neither' if images is None else 'both'}"
            )
        if isinstance(carried, list) and carried and isinstance(carried[0], SourceImages):
            carried = SourceImages.joined(carried)  # of a pipeline, which puts batches together
        # not turned: the model's own processor, which made the inputs, does not turn images
        nested = self.nested(list(carried) if images is None else images, prompts, upright=False)
        if images is None:
            return SourceImages(nested, getattr(carried, "options", None))
        image_processor = self.image_processor
        pads_itself = getattr(image_processor, "do_pad", False)
        if pads_to_square(image_processor) and not pads_itself:
            for image in (image for row in nested for image in row):
                if image.width != image.height:
                    raise ValueError(
                        f"`images` holds one of {image.width} x {image.height}, but {_name(image_processor)} "
                        "crops its centre, so that the inputs lack what the magnifier would show; make the inputs with "
                        "`pm.processor`, which pads to a square"
                    )
        sources = SourceImages(nested, self._usual_options(model))
        self._check_pixels(model, sources, image_inputs(model, dict(inputs or {})))
        return sources

    def _check_pixels(self, model: Any, sources: SourceImages, given: Mapping[str, Any]) -> None:
        """Refuse pixels that the sources do not make in the usual way, in which magnified images will be made.

        Inputs of another shape, which a larger batch was padded to or an earlier turn left behind, are not compared.
        """
        import torch

        given = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
        usual = self.made_with(sources.options).encode(model, sources.rows) if given and any(sources) else {}
        for name in sorted(given.keys() & usual.keys()):
            want, found = usual[name], given[name]
            if found.shape != want.shape or not want.is_floating_point():
                continue
            want = want.float()
            found = found.to(want).clamp(want.min(), want.max())  # floats overshoot at edges where 8 bits are clipped
            # rounding stays below: half a level of 8 bits from images in floats, a thousandth from bfloat16
            if float((found - want).abs().mean()) > max(1.0, float(want.abs().max())) / 200:
                raise ValueError(
                    f"`images` must make the {name!r} of the inputs with {_name(self.inner.image_processor)}'s own settings, "
                    "as magnified images will be made, but make others; make the inputs with `pm.processor`, or the "
                    "`processor` of a magnified model, which takes options and images of all kinds"
                )

    def _usual_options(self, model: Any) -> dict[str, Any]:
        """What the processor passes to its image processor in a call without options."""
        from PIL import Image

        mark = image_mark(model, self.inner)
        made = self(images=[[Image.new("RGB", (224, 224))]], text=[mark], return_tensors="pt")
        return dict(made["pm_images"].options)

    def as_prompt(self, text: str, images: int) -> str:
        """The text with an image token for each image: unchanged, or as a chat turn.

        Raises
        ------
        ValueError
            If the number of image tokens is wrong, or there is no chat template to put them in.
        """
        token, template = getattr(self.inner, "image_token", "<image>"), getattr(self.inner, "chat_template", None)
        if (found := text.count(token)) == images and (images or not template):
            return text
        if found or not template:
            raise ValueError(f"`prompt` must hold {token!r} once per image, {images} times, got {found} times")
        content = [{"type": "image"}] * images + [{"type": "text", "text": text}]
        prompt = self.inner.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return str(prompt)


def _name(image_processor: Any) -> str:
    return type(image_processor).__name__


def _take(options: dict[str, Any], name: str) -> Any:
    """An option of a call, removed from it at any level."""
    images_kwargs = options.get("images_kwargs") or {}
    if name in images_kwargs:
        options["images_kwargs"] = {key: value for key, value in images_kwargs.items() if key != name}
    return options.pop(name, images_kwargs.get(name))


def _image_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a call for the image processor, by name or in its dictionary."""
    flat = {name: value for name, value in options.items() if not name.endswith("_kwargs") and name != "return_tensors"}
    return {**(options.get("common_kwargs") or {}), **flat, **(options.get("images_kwargs") or {})}


def _configured(image_processor: Any, options: Mapping[str, Any]) -> Any:
    """An image processor with other settings, standardised like its configuration."""
    valid = getattr(getattr(image_processor, "valid_kwargs", None), "__annotations__", ())
    known = {name: value for name, value in options.items() if name in valid or hasattr(image_processor, name)}
    if not known:
        return image_processor
    return type(image_processor).from_dict(image_processor.to_dict(), **known)


def check_family(model: Any, processor: Any, /) -> None:
    """Refuse a processor that marks images by a token that the model does not look for.

    Raises
    ------
    ValueError
        If none of the processor's image tokens is the model's, and it does not write the model's for an image either.
    """
    wanted = getattr(model.config, "image_token_id", None)
    if wanted is None or not (tokens := _image_tokens(processor)) or wanted in tokens or _writes(processor, wanted):
        return
    raise ValueError(
        f"`processor` must mark images by token {wanted}, as the model's configuration says, got "
        f"{' or '.join(map(str, sorted(tokens)))}; load both from the same place"
    )


def _image_tokens(processor: Any) -> set[int]:
    """The tokens with these names; in some families they mark the image in a prompt and are replaced later."""
    tokenizer, name = processor.tokenizer, getattr(processor, "image_token", None)
    named = [getattr(holder, "image_token_id", None) for holder in (processor, tokenizer)]
    named += [
        *(getattr(processor, "image_token_ids", None) or ()),
        tokenizer.convert_tokens_to_ids(name) if name else None,
    ]
    return {token for token in named if token is not None}


def _writes(processor: Any, token: int) -> bool:
    """Whether the processor puts a token where an image is."""
    from PIL import Image

    text = getattr(processor, "image_token", "<image>")
    written = processor(images=Image.new("RGB", (224, 224)), text=text, return_tensors="pt")
    return bool((written["input_ids"] == token).any())


class _Observer:
    """An image processor that records the options of its first call."""

    def __init__(self, image_processor: Any, seen: dict[str, Any]) -> None:
        self._image_processor, self._seen = image_processor, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image_processor, name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        for name, value in options.items():
            if name not in ("images", "return_tensors"):
                self._seen.setdefault(name, value)
        return self._image_processor(*arguments, **options)


def _pad_left(inputs: Any) -> None:
    """Move padding from the right of each prompt to its left, without changing the tokenizer, which other threads may use."""
    mask = inputs.get("attention_mask")
    if mask is None:
        return
    behind = [next((place for place, kept in enumerate(reversed(list(row))) if kept), 0) for row in mask]
    if not any(behind):
        return
    for name, value in inputs.items():
        of_the_text = name.endswith(("_ids", "_mask", "_masks")) or name in ("labels", "offset_mapping")
        if of_the_text and len(value) == len(behind) and len(value[0]) == len(mask[0]):
            inputs[name] = _rolled(value, behind)


def _rolled(value: Any, by: Sequence[int]) -> Any:
    """The items of each row rotated to the right."""
    if isinstance(value, list):
        return [[*row[len(row) - count :], *row[: len(row) - count]] for row, count in zip(value, by, strict=True)]
    moved = copy.copy(value) if isinstance(value, np.ndarray) else value.clone()
    for row, count in enumerate(by):
        moved[row, :count], moved[row, count:] = (
            value[row, len(value[row]) - count :],
            value[row, : len(value[row]) - count],
        )
    return moved
