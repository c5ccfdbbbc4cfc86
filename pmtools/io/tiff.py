"""TIFF pages that Pillow has no mode for: what a page holds, its pixels as an array, and arrays as pages.

Pillow reads the pages that it knows wholly, tifffile (https://github.com/cgohlke/tifffile) the others.

Knows TIFF (Adobe's revision 6.0 and its supplements); no PIL images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from pmtools.io.files import ImageFileError
from pmtools.typing import Ndarray

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 258, 338, 339
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _YCBCR = 0, 1, 2, 6
_INTERLEAVED = 1
_UNCOMPRESSED, _WEBP = 1, 50001
_WHOLE = (8, 16, 32, 64)  # bits of integers whose bytes have an order
_USUAL_TILE = 1 << 20  # pixels; larger ones count where they are larger than the picture
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_PREMULTIPLIED, _ALPHA = 1, 2
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
# Colour spaces that are read with 8 bits only; their numbers in deeper pages would be taken for RGB.
_OTHER_SPACES = {3: "a palette", 4: "a transparency mask", 5: "CMYK", 6: "YCbCr", 8: "CIE L*a*b*", 9: "ICC L*a*b*"}
_ICC, _XMP, _ORIENTATION = 34675, 700, 274
# How the upright picture comes from the stored one, as axes to swap and to flip (TIFF 6.0, tag 274).
_TURNS = {2: (0, (1,)), 3: (0, (0, 1)), 4: (0, (0,)), 5: (1, ()), 6: (1, (1,)), 7: (1, (0, 1)), 8: (1, (0,))}


@dataclass(frozen=True)
class Page:
    """A page as tifffile describes it.

    Attributes
    ----------
    page : tifffile.TiffPage
    index : int
        Its place in the file, which Pillow counts alike.
    byte_order : str
        "<" or ">".
    big : bool
        Whether it is of a BigTIFF.
    """

    page: Any
    index: int
    byte_order: str
    big: bool

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return int(self.page.imagewidth), int(self.page.imagelength)

    @property
    def claim(self) -> tuple[int, str]:
        """How many pixels a decoder makes room for, channels after the fourth counted as more of them; and in words."""
        (width, height), channels = self.size, max(1, int(self.page.samplesperpixel))  # none is decoded as one
        pixels, words = width * height, f"{width} x {height} pixels"
        if channels > 4:
            words += f" of {channels} channels"
        if self.page.is_tiled and (tile := self.page.tilewidth * self.page.tilelength) > max(pixels, _USUAL_TILE):
            pixels, words = tile, f"{words} in tiles of {self.page.tilewidth} x {self.page.tilelength}"
        return pixels * -(-channels // 4), words

    @property
    def auxiliary(self) -> bool:
        """Whether it is a thumbnail, a level of a pyramid or a mask of another page."""
        return bool(int(self.page.subfiletype) & (_REDUCED | _MASK))

    @property
    def coding(self) -> str:
        """How its samples are stored, in words."""
        if self.page.compression == _UNCOMPRESSED:
            return f"packs samples of {self.page.bitspersample} bits"
        return f"is compressed with {getattr(self.page.compression, 'name', self.page.compression)}"

    @property
    def for_pillow(self) -> bool:
        """Whether Pillow reads all that the page holds, and nothing wrong."""
        page = self.page
        bits, samples, kind = set(_all(page, _BITS, 1)), page.samplesperpixel, set(_all(page, _SAMPLE_FORMAT, 1))
        extra, photometric = self._extra, page.photometric
        if (self.big and self.byte_order == ">") or len(bits) != 1 or len(kind) != 1 or page.imagedepth != 1:
            return False
        if not self._decoded_by_pillow:
            return False
        (bit,), (form,) = bits, kind
        colours = {_RGB: 3, 5: 4, 6: 3, 8: 3}.get(photometric, 1)
        straight = extra == (_ALPHA,) or (not extra and photometric == _RGB)  # OpenCV says nothing
        alpha = straight or (extra == (_PREMULTIPLIED,) and photometric == _RGB and bit == 8)
        if samples != colours and not (samples == colours + 1 and alpha and photometric in (_MIN_IS_BLACK, _RGB)):
            return False
        if form == _UNSIGNED and bit <= 8:
            known = photometric in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, 3, 5, 6, 8)
            return known and (bit == 8 or samples == 1) and (photometric != _MIN_IS_WHITE or bit in (1, 8))
        if form == _UNSIGNED and bit == 16 and page.planarconfig == _INTERLEAVED:
            return bool((photometric == _MIN_IS_BLACK and samples == 1) or photometric == _RGB)
        grey = photometric == _MIN_IS_BLACK and samples == 1 and self.byte_order == "<"
        return bool(grey and bit == 32 and form in (_SIGNED, _FLOAT))

    @property
    def _decoded_by_pillow(self) -> bool:
        """Whether Pillow knows the compression; of WebP in TIFF its wheels know the name only."""
        from PIL.TiffImagePlugin import COMPRESSION_INFO

        return self.page.compression in COMPRESSION_INFO and self.page.compression != _WEBP

    @property
    def _extra(self) -> tuple[int, ...]:
        return _all(self.page, _EXTRA_SAMPLES)

    def read(self, path: str, file_size: int) -> Ndarray:
        """Pixels as (H, W) or (H, W, C) in the file's own dtype: upright, white the greatest, alpha straight."""
        self._check(path, file_size)
        page = self.page
        values = np.asarray(page.asarray(maxworkers=1))
        if page.planarconfig != _INTERLEAVED and page.samplesperpixel > 1:
            values = np.moveaxis(values, 0, -1)
        if values.ndim == 3 and values.shape[2] == 1:
            values = values[..., 0]
        if values.shape[:2] != self.size[::-1] or values.ndim > 3 or values.size == 0:
            raise ValueError(f"its header asks for {self.size[0]} x {self.size[1]} pixels and leads to {values.shape}")
        values = np.array(values, dtype=values.dtype.newbyteorder("="))  # writable, and ours
        if values.ndim == 3 and values.dtype == np.bool_:
            values = values * np.uint8(255)
        elif values.dtype.kind == "u" and page.bitspersample < 8 * values.dtype.itemsize:  # for example 12 bits in 16
            step = np.iinfo(values.dtype).max / (2**page.bitspersample - 1)
            values = np.rint(values * step).astype(values.dtype)
        if page.photometric == _MIN_IS_WHITE:
            colours = values[..., : page.samplesperpixel - len(self._extra)] if values.ndim == 3 else values
            np.invert(colours, out=colours)  # of unsigned integers: greatest - value
        if self._extra == (_PREMULTIPLIED,):
            values = _straight(values)
        swap, flips = _TURNS.get(_number(page, _ORIENTATION) or 1, (0, ()))
        return np.ascontiguousarray(np.flip(values.swapaxes(0, 1) if swap else values, flips))

    def _check(self, path: str, file_size: int) -> None:
        """Refuse what cannot be read rightly, with the true reason."""
        page = self.page
        photometric, extra, dtype = page.photometric, self._extra, page.dtype
        refusal = None
        if photometric in _OTHER_SPACES:
            what = "with more channels" if dtype == np.uint8 else "in samples that are not of 8 bits"
            if not self._decoded_by_pillow:
                what = f"that {self.coding}"
            refusal = f"holds {_OTHER_SPACES[photometric]} {what}; convert it to RGB"
        elif photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB):
            refusal = (
                f"holds {getattr(photometric, 'name', photometric)} data, which is not yet a picture; develop it to RGB"
            )
        elif dtype is None or dtype.kind not in "buif":
            what = "complex numbers" if dtype is not None and dtype.kind == "c" else "samples of differing kinds"
            refusal = f"holds {what}, which no image is made of; save what is to be seen of them"
        elif isinstance(page.bitspersample, tuple):
            each = ", ".join(map(str, page.bitspersample))
            refusal = f"holds samples of differing bits ({each}); save it with 8 or 16 in each"
        elif dtype.kind in "iu" and page.bitspersample not in _WHOLE and (page.bitspersample > 16 or dtype.kind == "i"):
            refusal = f"holds integers of {page.bitspersample} bits, which decoders read differently; save it with 32"
        elif page.imagedepth != 1:
            refusal = "holds a volume; save its slices as pages"
        elif photometric == _MIN_IS_WHITE and dtype.kind not in "bu":
            refusal = (
                f"calls the least value white in {dtype}, where no value is black; save it with black as the least"
            )
        elif extra == (_PREMULTIPLIED,) and (dtype.kind != "u" or dtype.itemsize > 2):
            refusal = f"holds premultiplied alpha in {dtype}; save it with alpha that is not"
        elif extra == (_PREMULTIPLIED,) and photometric == _MIN_IS_WHITE:
            refusal = "holds premultiplied alpha where the least value is white; save it with black as the least"
        elif photometric == _RGB and page.samplesperpixel == 4 and extra == (0,):
            refusal = "has a fourth channel that it does not call alpha; say so in the file (ExtraSamples), or drop it"
        if refusal is None and page.samplesperpixel == 2 and extra in ((), (0,)):
            refusal = "has a second channel that it does not call alpha; save the channels as pages"
        if refusal:
            raise ImageFileError(path, refusal)
        if self.lacks_pixels(file_size):
            raise ImageFileError(path, "is truncated: parts of its pixels are not in the file")

    def lacks_pixels(self, file_size: int) -> bool:
        """Whether strips or tiles are not in the file, of which decoders would make zeros without a word."""
        page = self.page
        counts = page.databytecounts
        ends = [at + count for at, count in zip(page.dataoffsets, counts, strict=False)]
        if page.compression == _UNCOMPRESSED and page.photometric != _YCBCR:  # which may hold less than all samples
            each = page.bitspersample  # one number, or a tuple where samples differ
            bits = sum(each) if isinstance(each, tuple) else each * page.samplesperpixel
            return not ends or max(ends) > file_size or 8 * sum(counts) < math.prod(self.size) * bits
        if self.for_pillow:  # whose decoders find out
            return False
        return not ends or max(ends) > file_size or min(counts) <= 0 or len(ends) < math.prod(page.chunked)

    def info(self) -> dict[str, Any]:
        """Colour profile, XMP, resolution and descriptive texts, as Pillow's `info` has them."""
        from PIL import Image as PIL

        from pmtools.io.metadata import DESCRIPTIVE_TAGS

        kept: dict[str, Any] = {}
        for name, tag in (("icc_profile", _ICC), ("xmp", _XMP)):
            value = _value(self.page, tag)
            if isinstance(value, bytes) and value:
                kept[name] = value
        unit = _number(self.page, 296)
        steps = [_value(self.page, tag) for tag in (282, 283)]
        if unit in (2, 3) and all(isinstance(step, tuple) and len(step) == 2 and step[1] for step in steps):
            kept["dpi"] = tuple(step[0] / step[1] * (2.54 if unit == 3 else 1) for step in steps)
        exif = PIL.Exif()
        for tag in DESCRIPTIVE_TAGS:
            value = _value(self.page, tag)
            if isinstance(value, str) and value:
                exif[tag] = value
        return kept | ({"exif": exif.tobytes()} if len(exif) else {})


def open_pages(stream: BinaryIO, path: str) -> list[Page]:
    """The pages of a file, in order; an error that names the reason where there are none that can be read.

    Convention: pages are counted from 0, as Pillow's `seek` does.
    """
    import tifffile

    stream.seek(0)
    try:
        file = tifffile.TiffFile(stream)
        pages = [
            Page(
                file.pages.get(k, cache=False, aspage=True) if k else file.pages.first,
                k,
                file.byteorder,
                file.is_bigtiff,
            )
            for k in range(len(file.pages))
        ]
        claimed = int((file.imagej_metadata or {}).get("images", 1)) if file.is_imagej else 1
        for page in pages:  # all that is asked of them later on
            _ = page.claim, page.auxiliary, page.for_pillow, page.lacks_pixels(0)
    except Exception as error:  # whatever a damaged directory leads to
        reason = str(error) or type(error).__name__
        raise ImageFileError(
            path, f"is not a readable image: it starts like TIFF, but its header is damaged or cut off ({reason})"
        ) from error
    if len(pages) < claimed:
        raise ImageFileError(
            path, f"is an ImageJ stack of {claimed} images of which only {len(pages)} can be found; save it as pages"
        )
    if not pages:
        raise ImageFileError(path, "has no page")
    return pages


def write_pages(stream: BinaryIO, arrays: Sequence[Ndarray], info: dict[str, Any]) -> None:
    """Uncompressed pages of arrays, (H, W) or (H, W, C) each: C = 2 and 4 end in alpha, more than 4 are data."""
    import tifffile
    from PIL import Image as PIL

    exif = PIL.Exif()
    exif.load(info.get("exif", b""))
    texts = [(tag, 2, 0, str(exif[tag]), True) for tag in sorted(exif) if isinstance(exif[tag], str) and tag != 0x010E]
    with tifffile.TiffWriter(stream) as file:
        for k, array in enumerate(arrays):
            channels = array.shape[2] if array.ndim == 3 else 1
            extra = {2: ["unassalpha"], 4: ["unassalpha"]}.get(channels, ["unspecified"] * (channels - 1))
            options: dict[str, Any] = {"extrasamples": extra} if channels not in (1, 3) else {}
            if channels > 1:
                options["planarconfig"] = "contig"
            if "dpi" in info:
                options |= {"resolution": info["dpi"], "resolutionunit": "inch"}
            tags = list(texts) if k == 0 else []
            if k == 0 and "xmp" in info:
                tags.append((_XMP, 1, len(info["xmp"]), info["xmp"], True))
            file.write(
                array,
                photometric="rgb" if channels in (3, 4) else "minisblack",
                iccprofile=info.get("icc_profile"),
                description=str(exif[0x010E]) if k == 0 and 0x010E in exif else None,
                metadata=None,
                software=False,
                extratags=tags,
                **options,
            )


def _straight(values: Ndarray) -> Ndarray:
    """Premultiplied channels divided by their alpha, the last."""
    top = np.iinfo(values.dtype).max
    alpha = values[..., -1:].astype(np.float64)
    colour = np.where(alpha > 0, values[..., :-1] * (top / np.maximum(alpha, 1)), 0)
    return np.concatenate([np.clip(np.rint(colour), 0, top).astype(values.dtype), values[..., -1:]], axis=-1)


def _value(page: Any, tag: int) -> Any:
    try:
        found = page.tags.get(tag)
        return None if found is None else found.value
    except Exception:  # a damaged tag must not cost the picture
        return None


def _number(page: Any, tag: int) -> int | None:
    value = _value(page, tag)
    return int(value) if isinstance(value, int) else None


def _all(page: Any, tag: int, default: int | None = None) -> tuple[int, ...]:
    """The numbers of a tag, one or more."""
    value = _value(page, tag)
    if value is None:
        return () if default is None else (default,)
    return tuple(int(v) for v in value) if isinstance(value, (tuple, list)) else (int(value),)
