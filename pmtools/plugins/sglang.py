"""SGLang: its processors for images, with magnification of the images whose URLs are marked.

`SGLANG_EXTERNAL_MM_PROCESSOR_PACKAGE=pmtools.plugins` has SGLang import this module after its own processors, and take every
processor defined here in the place of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from sglang.srt.managers.multimodal_processor import PROCESSOR_MAPPING
from sglang.srt.utils import load_image

from pmtools.api.marked_urls import read_mark
from pmtools.api.messages import image_part


class _Magnifying:
    """Before a processor of SGLang."""

    async def process_mm_data_async(self, image_data: Any = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(image_data, list):
            image_data = [await asyncio.to_thread(_magnified, item) for item in image_data]
        elif image_data is not None:
            image_data = await asyncio.to_thread(_magnified, image_data)
        return await super().process_mm_data_async(image_data, *args, **kwargs)  # type: ignore[misc]


def _magnified(item: Any) -> Any:
    """An image as SGLang takes it: an address, a data URL or an object that has one; magnified as a data URL."""
    url = getattr(item, "url", item)
    plain, marked = read_mark(url) if isinstance(url, str) else (url, None)
    if marked is None:
        return item
    picture, _ = load_image(plain, False)
    data_url = image_part(marked.view(picture, marked.boxes).image)["image_url"]["url"]
    return data_url if isinstance(item, str) else dataclasses.replace(item, url=data_url, content_hash=None)


def _with_magnification(processor: type) -> type:
    name = f"Magnifying{processor.__name__}"
    return type(name, (_Magnifying, processor), {"__module__": __name__, "__doc__": processor.__doc__})


for _own in set(PROCESSOR_MAPPING.values()):
    if _own.__module__ != __name__:
        globals()[f"Magnifying{_own.__name__}"] = _with_magnification(_own)
