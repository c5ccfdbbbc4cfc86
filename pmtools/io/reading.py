"""Image files in: found by their content, checked before they are decoded, turned upright.

Knows files and PIL images; what Pillow reads wrongly or not at all is left to the modules of the two formats it is in.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pmtools import _checks, _images
from pmtools.io import metadata, png, sixteen_bit, tiff
from pmtools.io.arrays import from_array
from pmtools.io.files import ImageFileError, Source, name_of, open_source, reporting
from pmtools.io.formats import FORMATS, other_kind
from pmtools.io.frames import Frames
from pmtools.typing import Image, Ndarray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: Most pixels a file may claim before it is decoded; Pillow's own threshold for an error.
MAX_PIXELS = 178_956_970

#: What Pillow says of sound files that it does not know.
_OF_ANOTHER_KIND = re.compile(r"(?i)unsupported|not supported|cannot handle|unknown")


def read_image(path: Source, /, *, max_pixels: int | None = MAX_PIXELS) -> Image:
    """Image of a file, upright, with what came with it.

    The format is found from the content, not from the suffix. Of animated and multi-page files the first image is read;
    `read_frames` gives all. The EXIF orientation is applied and removed. `image.info` keeps `icc_profile`, `dpi`, `xmp` and
    `exif` (descriptive tags, camera and GPS data). A transparent colour key (PNG) becomes a real alpha channel.

    Parameters
    ----------
    path : path, bytes or binary stream
        In one of the `FORMATS`.
    max_pixels : int or None, optional
        Largest height times width to decode; None for no limit.

    Returns
    -------
    PIL image, or array of shape (H, W) or (H, W, C)
        Modes 1, L, LA, P, RGB, RGBA, CMYK, LAB, I;16, I (int32) and F stay what they are. What PIL has no mode for comes as a
        NumPy array of the file's own dtype: colour with 16 bits, and TIFFs of other integers and floats, in grey, colour or
        more channels. All of the toolkit takes that too, `write_image` included. Only AVIF of 10 or 12 bits comes with 8,
        which `Frames.left_out` says; colour of more than 8 bits in a JPEG 2000 is refused.

    Raises
    ------
    ImageFileError
        If the file is missing, empty, no image, truncated, damaged, larger than `max_pixels`, or of a kind that cannot be
        read without loss; the message says which.

    Examples
    --------
    >>> from pmtools.io import write_image
    >>> write_image(np.zeros((2, 3, 3), dtype=np.uint8), "black.png")
    >>> read_image("black.png").size
    (3, 2)
    """
    limit = _limit(max_pixels)
    with open_source(path) as stream:
        return frames_in(stream, name_of(path), limit, first_only=True).images[0]


def read_frames(path: Source, /, *, max_pixels: int | None = MAX_PIXELS, first_only: bool = False) -> Frames:
    """All images of a file: the frames of an animation (GIF, PNG, WebP, AVIF), the pages of a TIFF, the views of an MPO.

    Frames are whole pictures, whatever part of them the file stores.

    Parameters
    ----------
    path : path, bytes or binary stream
        In one of the `FORMATS`; a file of one image gives one frame.
    max_pixels : int or None, optional
        Most pixels to decode, of all images together; None for no limit.
    first_only : bool, optional
        Read the first image only; `count` is their number.

    Returns
    -------
    Frames

    Raises
    ------
    ImageFileError
        As `read_image` does.

    Examples
    --------
    >>> from PIL import Image
    >>> frames = [Image.new("L", (4, 4), level) for level in (0, 255)]
    >>> frames[0].save("blink.gif", save_all=True, append_images=frames[1:], duration=[100, 300], loop=0)
    >>> read_frames("blink.gif").durations
    [100.0, 300.0]
    """
    limit = _limit(max_pixels)
    with open_source(path) as stream:
        return frames_in(stream, name_of(path), limit, first_only=first_only)


def frames_in(stream: BinaryIO, name: str, max_pixels: int | None, *, first_only: bool) -> Frames:
    """The images of an open file that errors call `name`."""
    stream.seek(0)
    if stream.read(4) in tiff.STARTS:
        return _tiff_frames(stream, name, max_pixels, first_only)
    image = _header(stream, name)
    _check_size(image.size, name, max_pixels)
    rounded = sixteen_bit.loses_bits(image, stream)
    if rounded and image.format == "JPEG2000":
        raise ImageFileError(
            name, "cannot be read without loss: it is JPEG 2000 with colour of more than 8 bits; save it as PNG or TIFF"
        )
    count, companions = 1, 0
    with contextlib.suppress(Exception) if first_only else reporting(name, "is damaged or truncated"):
        count = int(getattr(image, "n_frames", 1))
        if first_only and image.format == "MPO":
            companions = _companions_of(image, count)
    if first_only or count == 1:
        first, info = _single(stream, name, 0)
        count -= companions
        return Frames([first], info=info, format=_suffix(image), count=count, companions=companions, rounded=rounded)
    if image.format != "MPO":
        _check_size(image.size, name, max_pixels, count)
    with reporting(name, "cannot be read without loss"):
        keyed = image.mode == "I;16" and "transparency" in image.info
        if keyed or sixteen_bit.byte_readings(image):
            what = "grey with a transparent level" if keyed else "colour"
            raise ImageFileError(
                name, f"has {count} frames of 16-bit {what}; only the first can be read, with read_image"
            )
    return replace(_animation(image, stream, name, max_pixels, count), rounded=rounded)


def _limit(max_pixels: int | None) -> int | None:
    return None if max_pixels is None else _checks.whole_number(max_pixels, "max_pixels")


def _suffix(image: Any) -> str:
    kind = "JPEG" if image.format == "MPO" else image.format
    return {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}.get(kind, kind.lower())


def _companions_of(image: Any, count: int) -> int:
    """Images of an MPO that are of another size than the first: thumbnails and gain maps."""
    size, others = image.size, 0
    for k in range(1, count):
        image.seek(k)
        others += image.size != size
    return others


def _animation(image: Any, stream: BinaryIO, name: str, max_pixels: int | None, count: int) -> Frames:
    """Frames of GIF, PNG, WebP and AVIF, views of MPO."""
    kind = image.format
    header = png.read_header(stream) if kind == "PNG" else None
    info = _with_ways(metadata.lasting(image), stream, kind)
    plays = image.info.get("loop", 1 if kind == "GIF" else 0)
    if kind == "GIF" and "loop" in image.info and plays:
        plays += 1  # it counts repetitions
    images: list[Any] = []
    durations, companions, first_size = [], 0, image.size
    for k in range(count):
        with reporting(name, f"is damaged or truncated in frame {k}"):
            image.seek(k)
            if kind == "MPO" and image.size != first_size:  # a thumbnail or a gain map
                companions += 1
                continue
            _check_size(
                image.size, name, max_pixels
            )  # frames of GIF may reach beyond the canvas, which PIL then enlarges
            _check_size(first_size, name, max_pixels, len(images) + 1)
            image.load()
            _mend_key(image, header)
            frame = image if image.size == first_size else image.crop((0, 0, *first_size))
            images.append(_upright(frame, metadata.lasting(image) if k == 0 else {}))
            durations.append(float(image.info.get("duration") or 0))
    if len({frame.mode for frame in images}) > 1 or images[0].mode == "P":  # PIL gives the later ones in colour
        mode = "RGBA" if any(frame.has_transparency_data for frame in images) else "RGB"
        images = [frame.convert(mode) for frame in images]
    return Frames(
        images,
        durations=None if kind == "MPO" or len(images) == 1 else durations,
        plays=int(plays),
        info=info,
        format=_suffix(image),
        count=count - companions,
        companions=companions,
        default_image=bool(kind == "PNG" and getattr(image, "default_image", False)),
    )


def _tiff_frames(stream: BinaryIO, name: str, max_pixels: int | None, first_only: bool) -> Frames:
    pages = tiff.open_pages(stream, name)
    wanted = [page for k, page in enumerate(pages) if k == 0 or not page.auxiliary]
    count = len(wanted)
    if first_only:
        wanted = wanted[:1]
    pixels = 0
    for page in wanted:
        claimed, words = page.claim
        if max_pixels is not None and claimed > max_pixels:
            raise ImageFileError(name, _too_many(f"{words}, {claimed} in all", max_pixels))
        pixels += claimed
    if max_pixels is not None and pixels > max_pixels:
        raise ImageFileError(name, _too_many(f"{count} pages of {pixels} pixels in all", max_pixels))
    images: list[Image] = []
    info: dict[str, Any] = {}
    stream.seek(0, 2)
    file_size = stream.tell()
    for page in wanted:
        if page.for_pillow:
            if page.lacks_pixels(file_size):
                raise ImageFileError(name, "is damaged or truncated: parts of its pixels are not in the file")
            image, lasting = _single(stream, name, page.index, of_stack=count > 1)
        else:
            with reporting(name, "is damaged or truncated"):
                try:
                    array = page.read(name, file_size)
                except Exception as error:
                    if "imagecodecs" not in str(error):
                        raise
                    raise ImageFileError(
                        name, f"{page.coding} and needs imagecodecs: pip install 'pmtools[tiff]'"
                    ) from error
            lasting = page.info()
            image = _as_pil_where_it_can(array)
            if not isinstance(image, np.ndarray):
                image.info.update(lasting)
                lasting = metadata.lasting(image, of_stack=count > 1)
                image.info.clear()
                image.info.update(lasting)
            elif count > 1 and "exif" in lasting:
                lasting["exif"] = metadata.without_description(lasting["exif"])
        if not images:
            info = lasting
        images.append(image)
    return Frames(images, info=info, format="tif", count=count, companions=len(pages) - count if count else 0)


def _as_pil_where_it_can(array: Ndarray) -> Any:
    grey = array.ndim == 2 and array.dtype in (np.bool_, np.uint8, np.uint16, np.int32, np.float32)
    colour = array.ndim == 3 and array.dtype == np.uint8 and array.shape[2] <= 4
    return from_array(array) if grey or colour else array


def _header(stream: BinaryIO, name: str) -> Any:
    """Pillow's lazy image of the file: header read, nothing decoded.

    `PIL.Image.open` keeps its size limit in a global, which no thread may change for another. Asking the formats one by
    one does the same without it, and leaves out formats that run programs (EPS) or hold no photographs.
    """
    from PIL import Image as PIL

    PIL.init()
    stream.seek(0)
    prefix = stream.read(256)
    reason = "it does not start like " + ", ".join(sorted(set(FORMATS.values())))
    for kind in sorted(set(FORMATS.values()) & PIL.OPEN.keys()):  # AVIF, JPEG 2000 and WebP are optional in Pillow
        factory, accepts = PIL.OPEN[kind]
        if accepts is None or accepts(prefix) is not True:
            continue
        try:
            stream.seek(0)
            return factory(stream, "")  # with a name it maps the file, and turned TIFFs with their sides exchanged
        except Exception as error:  # plugins raise anything on bad bytes
            reason = f"it starts like {kind}, but its header is damaged or cut off ({error or type(error).__name__})"
            if _OF_ANOTHER_KIND.search(str(error)):
                reason = f"it is {kind} of a kind that is not read ({error}); save it as PNG"
            continue
    if other := other_kind(prefix):
        reason = f"it is {other}"
    raise ImageFileError(name, f"is not a readable image: {reason}")


def _check_size(size: tuple[int, int], name: str, max_pixels: int | None, frames: int = 1) -> None:
    width, height = size
    if max_pixels is not None and width * height * frames > max_pixels:
        times = f"{frames} frames of " if frames > 1 else ""
        claim = f"{times}{width} x {height} pixels, {width * height * frames} in all"
        raise ImageFileError(name, _too_many(claim, max_pixels))


def _too_many(claim: str, max_pixels: int) -> str:
    return (
        f"claims {claim} and more than `max_pixels` = {max_pixels}; "
        "if you trust it, pass a larger `max_pixels=`, or None"
    )


def _single(stream: BinaryIO, name: str, index: int, *, of_stack: bool = False) -> tuple[Image, dict[str, Any]]:
    """One image that Pillow decodes, and its metadata."""

    def opened() -> Any:
        image = _header(stream, name)
        if index:
            with reporting(name, "is damaged or truncated"):
                image.seek(index)
        return image

    def decoded(image: Any) -> Any:
        with reporting(name, "is damaged or truncated"):
            image.load()
        return image

    image = opened()
    if sixteen_bit.as_wide_grey(image):
        return np.asarray(decoded(image)).astype(np.uint16).reshape(image.height, -1, 3), {}
    with reporting(name, "cannot be read without loss"):
        readings = sixteen_bit.byte_readings(image)
    header = png.read_header(stream) if image.format == "PNG" else None
    if header and header.of_apple:
        raise ImageFileError(
            name, "is a PNG of Apple's own kind (CgBI), made for its apps; save it as a plain PNG, with sips or Preview"
        )
    if not readings:
        decoded(image)
        lasting = _with_ways(metadata.lasting(image, of_stack=of_stack), stream, image.format)
        if header and header.key is not None and header.depth == 16:
            return _with_key(np.asarray(metadata.upright(image)).astype(np.uint16), header.key), lasting
        _mend_key(image, header)
        return _upright(image, lasting), lasting
    halves = []
    for raw_mode in readings:
        image = opened()
        sixteen_bit.reread(image, raw_mode)
        decoded(image)
        lasting = _with_ways(metadata.lasting(image, of_stack=of_stack), stream, image.format)
        halves.append(np.asarray(metadata.upright(image)))
    array = sixteen_bit.joined(halves)
    return (_with_key(array, header.key) if header and header.key is not None else array), lasting


def _mend_key(image: Any, header: png.Header | None) -> None:
    """Give a PNG the transparent colour of its own header, as PIL's mode counts it."""
    if header and header.key is not None:
        image.info["transparency"] = _key_in_eight_bits(header)
    elif header and not _is_of_palette(image):
        image.info.pop("transparency", None)  # of another header before this image's


def _is_of_palette(image: Any) -> bool:
    """Whether the transparency of an image is that of its palette."""
    transparency = image.info.get("transparency")
    return image.mode == "P" and (isinstance(transparency, bytes) or transparency in range(256))


def _with_key(array: Ndarray, key: tuple[int, ...]) -> Ndarray:
    """16-bit samples with an alpha channel: 0 at the key, 65535 elsewhere."""
    colour = array if array.ndim == 3 else array[..., None]
    alpha = np.where((colour == np.array(key, dtype=np.uint16)).all(axis=-1, keepdims=True), 0, 65535)
    return np.concatenate([colour, alpha.astype(np.uint16)], axis=-1)


def _key_in_eight_bits(header: png.Header) -> Any:
    """The key as PIL's modes 1, L and RGB have it."""
    values = [value * 255 // ((1 << header.depth) - 1) for value in header.key or ()]
    return values[0] if len(values) == 1 else tuple(values)


def _with_ways(lasting: dict[str, Any], stream: BinaryIO, kind: str) -> dict[str, Any]:
    """Metadata with what Pillow does not tell: whether a WebP is lossless, what a PNG's numbers stand for."""
    if kind == "WEBP":
        return lasting | ({"lossless": True} if _is_lossless_webp(stream) else {})
    if kind == "PNG" and (cicp := png.read_header(stream).cicp):
        return lasting | {"cicp": cicp}
    return lasting


def _is_lossless_webp(stream: BinaryIO) -> bool:
    """Whether the first picture of a WebP is stored as VP8L (RFC 9649, 2)."""
    stream.seek(12)
    while len(start := stream.read(8)) == 8:
        kind, length = start[:4], int.from_bytes(start[4:], "little")
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        if kind == b"ANMF":  # a frame: 16 bytes, and chunks of its own
            stream.seek(16, 1)
        else:
            stream.seek(length + length % 2, 1)
    return False


def _upright(image: Any, lasting: dict[str, Any]) -> PILImage:
    """A plain image, free of its file: orientation applied, alpha made real, only metadata that still hold."""
    upright: PILImage = metadata.upright(image).copy()
    upright = _images.with_alpha(upright)
    if upright.mode == "I;16B" or (upright.mode == "I" and image.format == "PPM"):  # 16-bit grey under other names
        upright = from_array(np.asarray(upright).astype(np.uint16))
    transparency = upright.info.get("transparency")  # of a palette
    upright.info.clear()
    upright.info.update(lasting if transparency is None else lasting | {"transparency": transparency})
    return upright
