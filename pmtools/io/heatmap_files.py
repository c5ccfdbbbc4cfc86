"""Heatmaps in files: grey-level images and NumPy's own formats.

Knows what a file of a heatmap must hold; no heatmap arithmetic.
"""

from __future__ import annotations

import math
import zipfile
from typing import IO, BinaryIO

import numpy as np

from pmtools import _array, _checks
from pmtools.io.arrays import to_array
from pmtools.io.files import ImageFileError, Source, name_of, open_source, reporting
from pmtools.io.reading import MAX_PIXELS, frames_in
from pmtools.typing import Ndarray

_NUMPY_STARTS = (b"\x93NUMPY", b"PK\3\4", b"PK\5\6")
#: Those of plain arrays; a third version is for fields with Unicode names.
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_heatmap(path: Source, /, *, max_pixels: int | None = MAX_PIXELS) -> Ndarray:
    """Heatmap of a file: a grey-level image, `.npy`, or `.npz` with one array.

    Parameters
    ----------
    path : path, bytes or binary stream
        Told by its content. An image of any bits, integer or floating-point; colour only where all channels agree. Arrays
        of shape (h, w), or (1, h, w) and (h, w, 1).
    max_pixels : int or None, optional
        Largest height times width to decode, of arrays too; None for no limit.

    Returns
    -------
    float64 array of shape (h, w)
        Non-negative, finite, at the file's own scale (an 8-bit image runs from 0 to 255).

    Raises
    ------
    ImageFileError
        If the file cannot be read, is in colour, or its content is not a heatmap.

    Examples
    --------
    >>> np.save("map.npy", [[0, 1], [2, 3]])
    >>> read_heatmap("map.npy")
    array([[0., 1.],
           [2., 3.]])
    """
    name = name_of(path)
    limit = None if max_pixels is None else _checks.whole_number(max_pixels, "max_pixels")
    with open_source(path) as stream:
        if stream.read(6).startswith(_NUMPY_STARTS) or name.lower().endswith((".npy", ".npz")):
            values = _read_numpy(stream, name, limit)
        else:
            found = frames_in(stream, name, limit, first_only=True)
            if found.count > 1:
                raise ImageFileError(name, f"must hold one heatmap, it has {found.count} images; save one map a file")
            image = found.images[0]
            if _array.is_pil(image):
                image = to_array(image.convert("RGB") if image.mode == "CMYK" else image)
            values = _grey_levels(image, name)
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2:
        raise ImageFileError(name, f"must hold one 2-D heatmap (h, w), got shape {values.shape}; save one map a file")
    try:
        return np.asarray(_checks.weights(values, "heatmap"), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ImageFileError(name, f"holds no heatmap: {error}") from error


def _read_numpy(stream: BinaryIO, path: str, max_pixels: int | None) -> Ndarray:
    """The one array of a .npy or .npz file, which must be real and must not need unpickling."""
    with reporting(path, "is not a readable NumPy file"):
        if not zipfile.is_zipfile(stream):
            return _one_array(stream, path, max_pixels)
        with zipfile.ZipFile(stream) as archive:
            members = archive.namelist()
            if len(members) != 1:
                names = ", ".join(name.removesuffix(".npy") for name in members) or "none"
                raise ImageFileError(
                    path, f"must hold one array, it has {len(members)} ({names}); save one with np.save"
                )
            with archive.open(members[0]) as member:
                return _one_array(member, path, max_pixels)


def _one_array(stream: IO[bytes], path: str, max_pixels: int | None) -> Ndarray:
    """An array in NumPy's format. What its header claims is checked first: as much memory would be taken for it."""
    stream.seek(0)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADER_READERS:
        raise ImageFileError(path, f"has version {version} of NumPy's format, which heatmaps do without; use np.save")
    shape, _, dtype = _HEADER_READERS[version](stream)
    if dtype.kind not in "biuf":
        raise ImageFileError(path, f"holds no heatmap: it must hold real numbers or booleans, got dtype {dtype}")
    if min(shape, default=0) < 0:  # NumPy below 2.2 reads what is there as if nothing were wrong
        raise ImageFileError(path, f"claims shape {shape}, which no array has; save it with np.save")
    if max_pixels is not None and math.prod(shape) > max_pixels:
        raise ImageFileError(
            path,
            f"claims shape {shape}, {math.prod(shape)} values in all and more than `max_pixels` = {max_pixels}; "
            "if you trust it, pass a larger `max_pixels=`, or None",
        )
    stream.seek(0)
    values: Ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    return values


def _grey_levels(pixels: Ndarray, path: str) -> Ndarray:
    """(h, w) of decoded pixels: grey as it is, colour where all channels agree and nothing is transparent."""
    if pixels.ndim == 2:
        return pixels
    channels = pixels.shape[2]
    colour, alpha = (pixels[..., :-1], pixels[..., -1]) if channels in (2, 4) else (pixels, None)
    opaque = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
    if alpha is not None and not (alpha == opaque).all():
        raise ImageFileError(path, "is transparent somewhere, which no heatmap is; remove its alpha channel")
    if not (colour == colour[..., :1]).all():
        raise ImageFileError(path, "is in colour; save the heatmap as grey levels, or as .npy")
    return colour[..., 0]
