"""Image URLs that say what to magnify, for servers with a plug-in of `pmtools.plugins`.

The mark is a fragment of the URL, so that it works with `https:`, `file:` and `data:` alike. A server without the plug-in ignores
it in addresses, and refuses it in data URLs.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from pmtools import _array, _checks
from pmtools.answers import Undone, undo
from pmtools.api.view_options import ViewOptions
from pmtools.typing import BoxesXYXY, SizeHW

_MARK = "#pmtools="


def mark_url(url: str, boxes_xyxy: BoxesXYXY, /, **options: Any) -> str:
    """The URL of an image with a mark that says what to magnify.

    Parameters
    ----------
    url : str
        An address or a data URL.
    boxes_xyxy : array of shape (4,) or (n, 4)
        What to magnify, in pixels of the image.
    **options
        `format`, `max_pixels`, `zoom` and `units`, as for `ViewOptions`.

    Returns
    -------
    str

    Raises
    ------
    TypeError, ValueError
        If the boxes or options are not as described in `ViewOptions`, or the URL has a mark already.

    Examples
    --------
    >>> mark_url("https://example.com/a.png", [900, 40, 1060, 90], format="qwen3-vl")
    'https://example.com/a.png#pmtools=%7B%22boxes%22%3A[[900,40,1060,90]],%22format%22%3A%22qwen3-vl%22%7D'
    """
    if _MARK in url:
        raise ValueError("`url` must not have a mark, got one; mark the original URL with all boxes at once")
    _checks.boxes(boxes_xyxy, "boxes_xyxy")
    numbers = _array.to_numpy(_array.asarray(boxes_xyxy, "boxes_xyxy"))  # whole ones stay whole in the URL
    options["boxes"] = np.reshape(numbers, (-1, 4)).tolist()
    _checked(options)
    return url + _MARK + quote(json.dumps(options, separators=(",", ":"), sort_keys=True), safe="[],")


def read_mark(url: str, /) -> tuple[str, ViewOptions | None]:
    """The URL without its mark, and what the mark says.

    Parameters
    ----------
    url : str

    Returns
    -------
    (str, ViewOptions or None)
        None: the URL has no mark.

    Raises
    ------
    ValueError
        If the mark is malformed.
    """
    plain, mark, content = url.rpartition(_MARK)
    if not mark:
        return url, None
    try:
        options = json.loads(unquote(content))
    except ValueError:
        options = None
    try:
        return plain, _checked(options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the mark of the image's URL is not one of `pmtools.api.mark_url`: {error}") from None


def undo_marked(text: str, url: str, /, *, source_hw: SizeHW, **options: Any) -> Undone:
    """An answer about a marked image, in coordinates of the original.

    Parameters
    ----------
    text : str
        The server's answer.
    url : str
        As it was sent.
    source_hw : (int, int)
        Height and width of the original image.
    **options
        Of `pmtools.answers.undo`.

    Returns
    -------
    Undone

    Raises
    ------
    ValueError
        If the URL has no mark, or its boxes do not fit the size.
    """
    _, marked = read_mark(url)
    if marked is None:
        raise ValueError("`url` must have a mark of `pmtools.api.mark_url`, got none")
    return undo(text, warp=marked.warp(source_hw), format=marked.format, **{"units": marked.units, **options})


def _checked(options: Any) -> ViewOptions:
    marked = ViewOptions().updated(options, "mark")
    if marked.boxes is None or marked.asks_model:
        raise ValueError("`boxes` must be the boxes themselves: a plug-in cannot ask the model")
    return marked
