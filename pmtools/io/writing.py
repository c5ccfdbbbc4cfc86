"""Image files out: the format of the suffix, nothing lost without a word, the metadata that still hold.

Knows PIL images, arrays and formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from pmtools import _array, _checks, _images
from pmtools.io import metadata, mpo, png, tiff
from pmtools.io.arrays import from_array
from pmtools.io.files import ImageFileError, Target, name_of, replacing, reporting
from pmtools.io.formats import HOLD_FRAMES, fitting, format_of
from pmtools.io.frames import Frames
from pmtools.typing import Image, Ndarray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

_LOSSLESS = {"BMP", "GIF", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"}
_GIF_STEP, _MOST_LOOPS = 10, 65535  # milliseconds; of GIF and WebP
_Page: TypeAlias = Any  # a PIL image, or an array that PIL has no mode for


def write_image(
    image: Image,
    path: Target,
    /,
    *,
    like: PILImage | Frames | None = None,
    format: str | None = None,
    quality: int = 95,
    lossless: bool | None = None,
    compress_level: int = 6,
) -> None:
    """Write an image file, whole or not at all; folders above it are made.

    The format follows the suffix. PNG, TIFF (uncompressed), BMP, PPM and JPEG 2000 are lossless; JPEG is written at full colour
    resolution (4:4:4). ICC profile, resolution, EXIF and XMP of `like`, or else of `image`, are kept where the format has a
    place for them; a pending EXIF orientation is applied first. An existing file is replaced.

    Parameters
    ----------
    image : PIL image or array of shape (H, W) or (H, W, C)
        Any mode; as an array: bool, uint8, uint16, or int32 and floating-point grey levels, see `from_array`; for TIFF any
        integers and floats, and more channels.
    path : path or binary stream
        Its suffix is one of the `FORMATS`.
    like : PIL image or Frames, optional
        Where metadata come from, usually what was read.
    format : str, optional
        Suffix of the format, without its dot, where `path` has none or another.
    quality : int, optional
        1 to 100, for JPEG, AVIF and WebP that is not lossless.
    lossless : bool, optional
        For WebP; by default as the file was that `like` or `image` came from. True is refused where the format cannot.
    compress_level : int, optional
        0 (none) to 9 (smallest, slowest), for PNG, without loss. With 8-bit photographs, 4 takes a third of the time of 6 and
        makes files a few per cent larger.

    Raises
    ------
    ImageFileError
        If the suffix is unknown, the format cannot hold the image (alpha in a JPEG, 16 bits in a WebP), or the file
        cannot be written.
    TypeError, ValueError
        If `image` is not an image.

    Examples
    --------
    >>> from pmtools.io import read_image
    >>> write_image(np.full((4, 4), 1000, dtype=np.uint16), "depth/map.png")
    >>> read_image("depth/map.png").mode
    'I;16'
    """
    source = image if like is None else like
    info = source.info if isinstance(source, Frames) else metadata.lasting(source) if _array.is_pil(source) else {}
    frames = Frames([image], info=info)
    write_frames(frames, path, format=format, quality=quality, lossless=lossless, compress_level=compress_level)


def write_frames(
    frames: Frames,
    path: Target,
    /,
    *,
    format: str | None = None,
    quality: int = 95,
    lossless: bool | None = None,
    compress_level: int = 6,
) -> tuple[str, ...]:
    """Write all images into one file, as `write_image` does one: an animation, the pages of a TIFF, the views of an MPO.

    Parameters
    ----------
    frames : Frames
        As `read_frames` gives them.
    path : path or binary stream
        Several images go into GIF, PNG, WebP, AVIF, TIFF and JPEG.
    format, quality, lossless, compress_level
        As for `write_image`.

    Returns
    -------
    tuple of str
        In words, what came with the images and has no place in the format.

    Raises
    ------
    ImageFileError, TypeError, ValueError
        As `write_image` does; also if the format holds only one image and there are more.

    Examples
    --------
    >>> from PIL import Image
    >>> frames = Frames([Image.new("L", (4, 4), level) for level in (0, 255)], durations=[100, 300])
    >>> write_frames(frames, "blink.png")
    ()
    """
    quality = _checks.whole_number(quality, "quality", minimum=1, maximum=100)
    compress_level = _checks.whole_number(compress_level, "compress_level", minimum=0, maximum=9)
    kind, name = format_of(path, format), name_of(path)
    if lossless and kind not in _LOSSLESS:
        raise ImageFileError(name, f"cannot be written without loss: {kind} is never lossless here; use .png or .webp")
    if len(frames.images) > 1 and kind not in HOLD_FRAMES:
        raise ImageFileError(
            name, f"cannot be written: {kind} holds one image, not {len(frames.images)}; use .tif, .gif, .png or .webp"
        )
    pages = [_page(image, kind) for image in frames.images]
    deep = any(isinstance(page, np.ndarray) for page in pages)
    if deep and not (kind == "TIFF" or (kind == "PNG" and len(pages) == 1 and pages[0].dtype == np.uint16)):
        _refuse_deep(pages, name, kind)
    if not deep:
        pages = [fitting(page, name, _encoder(kind, len(pages))) for page in pages]
    if kind == "PNG" and len(pages) > 1 and any(page.mode == "I;16" for page in pages):
        _refuse_deep(pages, name, kind)  # Pillow compares frames in 8 bits, to leave out what stays
    held, lost = metadata.placed(metadata.applicable(frames.info, _mode(pages[0])), kind)
    if "icc_profile" in frames.info and "icc_profile" not in held and kind in metadata.PLACES["icc_profile"]:
        lost = [*lost, "the ICC profile, made for other channels,"]
    if deep and kind == "TIFF" and "exif" in held and metadata.has_directories(held["exif"]):
        lost = [*lost, "EXIF of camera and place at this depth"]
    keep_lossless = frames.info.get("lossless", False) if lossless is None else lossless
    options = _encoder_options(kind, quality, keep_lossless, compress_level) | _animation_options(frames, pages, kind)
    lost = [*lost, *_lost_timing(frames, kind)]
    with replacing(path) as stream, reporting(name, "could not be encoded"):
        if deep and kind == "PNG":
            chunks = metadata.png_chunks(held) + png.text_chunks(held)
            png.write(stream, pages[0], compress_level=compress_level, chunks=chunks)
        elif deep:
            tiff.write_pages(stream, [np.asarray(page) for page in pages], held)
        else:
            options |= _metadata_options(held, kind)
            pages[0].save(stream, format=_encoder(kind, len(pages)), **options)
            if kind == "JPEG" and len(pages) > 1:
                mpo.mend_index(stream)
            if merged := len(pages) - _frames_written(stream, name, kind, len(pages)):
                lost = [*lost, f"{merged} frames like the ones before, which are shown longer"]
    return tuple(lost)


def _page(image: Any, kind: str) -> _Page:
    """An upright PIL image, or an array where PIL has no mode for it and `kind` may hold it."""
    if _array.is_pil(image):
        return metadata.upright(image)
    pixels: Ndarray = _images.native(_array.to_numpy(_array.asarray(image, "image")))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.size == 0:
        raise ValueError(f"`image` must not be empty, got shape {pixels.shape}")
    if pixels.ndim == 3 and pixels.dtype == np.uint16 and pixels.shape[2] in (2, 3, 4):
        return pixels
    if kind == "TIFF" and pixels.dtype.kind in "uif" and pixels.dtype.itemsize <= 8:
        flat = pixels.ndim == 2 and pixels.dtype not in (np.uint8, np.uint16, np.int32, np.float32)
        deep = pixels.ndim == 3 and (pixels.dtype != np.uint8 or pixels.shape[2] > 4)
        if flat or (deep and (pixels.shape[2] <= 4 or pixels.shape[2] < min(pixels.shape[:2]))):
            return pixels
    return from_array(pixels)


def _mode(page: _Page) -> str:
    """PIL's mode of a page, or one like it."""
    if not isinstance(page, np.ndarray):
        return str(page.mode)
    return "RGB" if page.ndim == 3 and page.shape[2] in (3, 4) else "L"


def _refuse_deep(pages: list[_Page], name: str, kind: str) -> None:
    channels = next((page.shape[2] for page in pages if isinstance(page, np.ndarray)), 1)
    words = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGBA"}[channels]
    several = " of several frames" if kind == "PNG" else ""
    use = ".tif" if kind == "PNG" else ".png"
    raise ImageFileError(name, f"cannot be written: 16-bit {words}{several} does not go into {kind} here; use {use}")


def _encoder_options(kind: str, quality: int, lossless: bool, compress_level: int) -> dict[str, Any]:
    if kind == "JPEG":  # 4:4:4: magnified colour edges are what one looks at
        return {"quality": quality, "subsampling": 0}
    if kind == "WEBP" and lossless:  # colours under full transparency are pixels too
        return {"lossless": True, "exact": True, "quality": 75}
    if kind in ("WEBP", "AVIF"):
        return {"quality": quality}
    if kind == "PNG":
        return {"compress_level": compress_level}
    return {}  # TIFF stays uncompressed: Pillow writes no camera and GPS directories into a compressed one


def _animation_options(frames: Frames, pages: list[_Page], kind: str) -> dict[str, Any]:
    """What Pillow's encoders want for several frames."""
    if len(pages) == 1:
        return {}
    options: dict[str, Any] = {"save_all": True, "append_images": pages[1:]}
    if kind in ("TIFF", "JPEG"):
        return options
    if frames.durations is not None:
        options["duration"] = _steps(frames.durations, _GIF_STEP if kind == "GIF" else 1)
    if kind == "GIF" and frames.plays != 1:  # it counts repetitions
        options["loop"] = min(max(frames.plays - 1, 0), _MOST_LOOPS)
    if kind in ("PNG", "WEBP"):
        options["loop"] = frames.plays if kind == "PNG" else min(frames.plays, _MOST_LOOPS)
    if kind == "GIF" and any(page.has_transparency_data for page in pages):
        options["disposal"] = 2  # else the frame before shows through
    if kind == "PNG" and frames.default_image:
        options |= {"default_image": True, "duration": options.get("duration", [0] * len(pages))[1:]}
    return options


def _steps(durations: Sequence[float], step: int) -> list[int]:
    """Durations as whole numbers of milliseconds that `step` divides; the sum of the first n is off by half a step at most."""
    ends = np.rint(np.cumsum([0, *durations]) / step).astype(np.int64) * step
    return [int(duration) for duration in np.diff(ends)]


def _lost_timing(frames: Frames, kind: str) -> list[str]:
    """What a format has no place for, in words, of how an animation runs."""
    if frames.durations is None or len(frames.images) == 1:
        return []
    if kind in ("TIFF", "JPEG"):
        return ["how long each image is shown"]
    lost = []
    if kind == "GIF" and any(duration % _GIF_STEP for duration in frames.durations):
        lost.append("durations between hundredths of a second")
    if kind == "AVIF" and frames.plays:
        lost.append("the number of plays")
    if (kind == "GIF" and frames.plays - 1 > _MOST_LOOPS) or (kind == "WEBP" and frames.plays > _MOST_LOOPS):
        lost.append(f"{frames.plays} plays")
    return lost


def _frames_written(stream: BinaryIO, name: str, kind: str, wanted: int) -> int:
    """The frames in an encoded animation: encoders join those that are alike."""
    if wanted == 1 or kind not in ("GIF", "PNG", "WEBP"):
        return wanted
    from PIL import Image as PIL

    stream.seek(0)
    return int(getattr(PIL.OPEN[kind][0](stream, name), "n_frames", 1))


def _metadata_options(held: dict[str, Any], kind: str) -> dict[str, Any]:
    """`held` as Pillow's encoder of `kind` takes it."""
    options: dict[str, Any] = {key: held[key] for key in ("icc_profile", "dpi", "exif", "xmp") if key in held}
    if kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        chunks = PngInfo()
        for name, data in metadata.png_chunks(held):
            chunks.add(name, data)
        if xmp := options.pop("xmp", None):
            chunks.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        options["pnginfo"] = chunks
    elif kind == "TIFF" and "xmp" in options:
        options["exif"] = metadata.with_xmp(options.get("exif", b""), options.pop("xmp"))
    return options


def _encoder(kind: str, count: int) -> str:
    """Pillow's name of what writes so many images into a file of that kind."""
    return "MPO" if kind == "JPEG" and count > 1 else kind
