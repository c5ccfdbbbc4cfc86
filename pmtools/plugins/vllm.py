"""vLLM: a media connector that magnifies the images whose URLs are marked. `VLLM_MEDIA_CONNECTOR=pmtools` turns it on.

vLLM calls `register` at its start, by the entry point `vllm.general_plugins` of this package.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from pmtools.api.marked_urls import read_mark
from pmtools.api.view_options import ViewOptions

NAME = "pmtools"


def register() -> None:
    """Add the connector to vLLM's registry; once more changes nothing."""
    from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector

    if NAME in MEDIA_CONNECTOR_REGISTRY.name2class:
        return

    class MagnifyingConnector(MediaConnector):  # type: ignore[misc]
        """vLLM's own connector, its limits and caches, and magnification after it."""

        def load_from_url(self, url: str, media_io: Any, **options: Any) -> Any:
            plain, marked = read_mark(url)
            return _magnified(super().load_from_url(plain, media_io, **options), marked, url[len(plain) :])

        async def load_from_url_async(self, url: str, media_io: Any, **options: Any) -> Any:
            plain, marked = read_mark(url)
            loaded = await super().load_from_url_async(plain, media_io, **options)
            return await asyncio.to_thread(_magnified, loaded, marked, url[len(plain) :])

    MEDIA_CONNECTOR_REGISTRY.register(NAME)(MagnifyingConnector)


def _magnified(loaded: Any, marked: ViewOptions | None, mark: str) -> Any:
    if marked is None:
        return loaded
    image = getattr(loaded, "media", None)
    if not hasattr(image, "convert"):
        raise ValueError("only the URL of an image may have a mark of pmtools, got one of other media")
    shown = marked.view(image, marked.boxes)
    # vLLM's caches know an image by its bytes: the mark makes it another one
    return dataclasses.replace(loaded, media=shown.image, original_bytes=loaded.original_bytes + mark.encode())
