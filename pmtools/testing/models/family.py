"""A family in the tests: a configuration, a processor around shared parts, and what both require."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pmtools.testing.models.tokenizer import tiny_tokenizer

TILE = 56  # pixels a side of one vision input
#: Of a vision tower: 4 x 4 patches of a tile, and 8 x 8 for those that merge four into one.
COARSE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": TILE,
    "patch_size": TILE // 4,
}
FINE = {**COARSE, "patch_size": TILE // 8}
TILE_TOKENS = 16  # image tokens of one vision input
SQUARE = {"height": TILE, "width": TILE}

_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: {% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}MARK\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@dataclass(frozen=True)
class Parts:
    """The parts of processors, for one of transformers' two image back ends."""

    backend: str  # "pil" or "torchvision"
    tokenizer: Any

    def images(self, name: str, **options: Any) -> Any:
        """An image processor of transformers by its name without "ImageProcessor"."""
        import transformers

        kind = f"{name}ImageProcessor{'Pil' if self.backend == 'pil' else ''}"
        return getattr(transformers, kind)(**options)

    def videos(self, name: str, *, required: bool = False, **options: Any) -> Any:
        """A video processor of transformers; without torchvision, which all of them need, None unless it is `required`."""
        import transformers

        build = required or _has_torchvision()
        return getattr(transformers, f"{name}VideoProcessor")(**options) if build else None


class _WithoutVideos:
    """For a processor of transformers: no video processor is no error."""

    def check_argument_for_proper_class(self, name: str, argument: Any) -> Any:
        if name == "video_processor":
            return type(None)
        return super().check_argument_for_proper_class(name, argument)  # type: ignore[misc]


def _has_torchvision() -> bool:
    from transformers.utils import is_torchvision_available

    return bool(is_torchvision_available())


@dataclass(frozen=True)
class Family:
    """One row of the table of families.

    Attributes
    ----------
    configuration : callable
        From the shape of the text model, as keywords, to the model's configuration.
    processor_class : str
        That of transformers.
    parts : callable
        From `Parts` to the processor's parts besides its tokenizer and chat template.
    text : mapping
        Settings of the text model besides the common shape.
    backends : tuple of str
        Image back ends that transformers has for the family.
    names : mapping
        Tokens with other names here, see `tiny_tokenizer`.
    packages : tuple of str
        Packages that transformers needs for it.
    mark : str
        The text for an image in a prompt of this family: `<image>`, and what its chat templates put around it.
    """

    configuration: Callable[[dict[str, Any]], Any]
    processor_class: str
    parts: Callable[[Parts], dict[str, Any]]
    text: Mapping[str, Any] = field(default_factory=dict)
    backends: tuple[str, ...] = ("pil", "torchvision")
    names: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    mark: str = "<image>"

    def processor(self, backend: str) -> Any:
        """A new one, of the family's own class.

        Without torchvision, transformers refuses processors that may take videos; here they are made without a video
        processor.
        """
        import transformers

        parts = Parts(backend, tiny_tokenizer(**self.names))
        found: dict[str, Any] = self.parts(parts)
        kind = getattr(transformers, self.processor_class)
        if not _has_torchvision() and "video_processor" in found:
            kind = type(self.processor_class, (_WithoutVideos, kind), {})
        return kind(tokenizer=parts.tokenizer, chat_template=_CHAT_TEMPLATE.replace("MARK", self.mark), **found)
