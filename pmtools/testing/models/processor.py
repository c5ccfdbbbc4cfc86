"""Processors for the tiny models: their families' own image processors, and texts with as many image tokens as they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pmtools.testing.models.model import PINPOINTS, TILE
from pmtools.testing.models.tokenizer import tiny_tokenizer

TILE_TOKENS = 16  # image tokens of one vision input
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def tiny_processor(model: Any) -> Any:
    """A processor for a model of `tiny_model`: transformers' `LlavaProcessor`, or a `TinyProcessor`.

    The own processors of several families cannot be built without torchvision; their image processors can, and they
    decide the pixels.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        From `tiny_model`.

    Returns
    -------
    object with `image_processor`, `tokenizer` and a call
        `processor(images=..., text=..., return_tensors="pt")`.
    """
    import transformers as hf

    family = model.config.model_type
    if family == "llava":
        return hf.LlavaProcessor(
            image_processor=_image_processor(family),
            tokenizer=tiny_tokenizer(),
            patch_size=TILE // 4,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=_CHAT_TEMPLATE,
        )
    return TinyProcessor(model, _image_processor(family), tiny_tokenizer())


def _image_processor(family: str) -> Any:
    import transformers as hf

    square = {"height": TILE, "width": TILE}
    if family in ("llava", "llava_next"):
        size = {"size": {"shortest_edge": TILE}, "crop_size": square}
        if family == "llava":
            return hf.CLIPImageProcessorPil(**size)
        return hf.LlavaNextImageProcessorPil(**size, image_grid_pinpoints=PINPOINTS)
    if family == "llava_onevision":
        return hf.LlavaOnevisionImageProcessorPil(size=square, image_grid_pinpoints=PINPOINTS)
    if family.startswith("qwen"):
        side = TILE // 2  # of one image token, in pixels
        return hf.Qwen2VLImageProcessorPil(
            patch_size=TILE // 4, size={"shortest_edge": 4 * side**2, "longest_edge": 24 * side**2}
        )
    if family == "internvl":
        return hf.GotOcr2ImageProcessorPil(size=square, crop_to_patches=True, max_patches=4)
    if family in ("idefics3", "smolvlm"):
        kind = hf.Idefics3ImageProcessorPil if family == "idefics3" else hf.SmolVLMImageProcessorPil
        return kind(size={"longest_edge": 2 * TILE}, max_image_size={"longest_edge": TILE})
    if family == "gemma3":
        return hf.Gemma3ImageProcessorPil(size=square)
    return hf.SiglipImageProcessorPil(size=square)


class TinyProcessor:
    """Image processor and tokenizer as one; `<image>` in a text becomes as many image tokens as the model makes.

    How many, it learns from the model's own vision tower, so it owes nothing to the code under test.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        From `tiny_model`.
    image_processor, tokenizer
        The family's.
    """

    image_token = "<image>"
    chat_template = _CHAT_TEMPLATE

    def __init__(self, model: Any, image_processor: Any, tokenizer: Any) -> None:
        self.model, self.image_processor, self.tokenizer = model, image_processor, tokenizer
        self.family = model.config.model_type
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)

    def __call__(self, images: Any = None, text: Any = None, return_tensors: str = "pt", **_: Any) -> Any:
        """Token ids, mask and pixels of a prompt or a list of prompts; images in prompt order, nested or flat."""
        from transformers import BatchFeature

        texts = [text] if isinstance(text, str) else list(text)
        pixels: dict[str, Any] = {}
        if images is not None:
            flat = _flatten(images)
            per_text = [item.count(self.image_token) for item in texts]
            if sum(per_text) != len(flat):
                raise ValueError(f"`text` has {sum(per_text)} {self.image_token}, `images` has {len(flat)} images")
            nested = _nested(flat, per_text)
            pixels = self._pixels(nested)
            runs = iter([self._placeholders(image, len(row)) for row in nested for image in row])
            texts = ["".join(_interleave(item.split(self.image_token), runs)) for item in texts]
        encoded = self.tokenizer(texts, return_tensors=return_tensors, padding=True)
        image_tokens = encoded["input_ids"] == self.image_token_id
        types: dict[str, Any] = {}
        if self.family.startswith("qwen"):
            types = {"mm_token_type_ids": image_tokens.int()}
        elif self.family in ("gemma3", "paligemma"):
            types = {"token_type_ids": image_tokens.long() * (self.family == "gemma3")}
        return BatchFeature({**encoded, **types, **pixels})

    def _pixels(self, nested: Sequence[Sequence[Any]]) -> dict[str, Any]:
        out = self.image_processor(images=[list(row) for row in nested], return_tensors="pt")
        return {name: value for name, value in out.items() if name not in ("num_patches", "num_crops")}

    def _placeholders(self, image: Any, images: int) -> str:
        """The text that one of several images of a prompt becomes."""
        import torch

        with torch.no_grad():
            pixels = self._pixels([[image] * images])
            features = self.model.get_image_features(**pixels, return_dict=True).pooler_output
        count = sum(item.shape[0] for item in features) // images
        if self.family in ("idefics3", "smolvlm"):
            tile = self.image_token * TILE_TOKENS
            tiles = [f"<fake><tile>{tile}"] * (count // TILE_TOKENS - 1)
            return "\n".join([*tiles, f"<fake><global>{tile}<fake>"])
        run = self.image_token * count
        return run if self.family in ("llava_next", "llava_onevision", "paligemma") else f"<start>{run}<end>"

    def apply_chat_template(self, conversation: Any, *, add_generation_prompt: bool = False, **_: Any) -> str:
        """The conversation as text."""
        text = self.tokenizer.apply_chat_template(
            conversation, chat_template=_CHAT_TEMPLATE, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return str(text)

    def batch_decode(self, *arguments: Any, **options: Any) -> Any:
        """Token ids to text: the tokenizer's."""
        return self.tokenizer.batch_decode(*arguments, **options)


def _flatten(images: Any) -> list[Any]:
    if not isinstance(images, list | tuple):
        return [images]
    return [image for item in images for image in _flatten(item)]


def _nested(flat: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
    items = iter(flat)
    return [[next(items) for _ in range(count)] for count in counts]


def _interleave(parts: list[str], runs: Any) -> list[str]:
    out = [parts[0]]
    for part in parts[1:]:
        out += [next(runs), part]
    return out
