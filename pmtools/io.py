"""Image files, heatmap files and JSON files, in and out, without losing what they hold.

Reading turns the picture upright (EXIF orientation) and keeps alpha, palette, 16 bits, ICC profile, resolution and
descriptive EXIF. Writing goes to a temporary name in the same folder and is renamed at the end, so a file is either
there and whole or not there. Everything that is wrong with a file is an `ImageFileError` that names it.

Knows files, PIL images and NumPy arrays; no warp, no heatmap arithmetic. All functions are safe to call from several
threads: no global setting of Pillow is touched.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from pmtools import _array, _checks, _image_metadata, _sixteen_bit
from pmtools.typing import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

Ndarray: TypeAlias = np.ndarray[Any, np.dtype[Any]]
PathLike: TypeAlias = str | os.PathLike[str]

#: Most pixels a file may claim before it is decoded; Pillow's own threshold for an error.
MAX_PIXELS = 178_956_970

#: Image suffixes and Pillow's name of their format. Written by suffix, read by content.
FORMATS = {
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jp2": "JPEG2000",
    ".jfif": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".pbm": "PPM",
    ".pgm": "PPM",
    ".png": "PNG",
    ".pnm": "PPM",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}

# What each format stores without loss of bits or channels (JPEG's own loss aside). Pillow itself would drop alpha from a
# BMP and half the bits from a 16-bit WebP without a word. GIF picks its own 256 colours: that is its nature.
_HOLDS = {
    "AVIF": {"L", "RGB", "RGBA"},
    "BMP": {"1", "L", "P", "RGB"},
    "GIF": {"1", "L", "P", "RGB", "RGBA"},
    "JPEG": {"L", "RGB", "CMYK"},
    "JPEG2000": {"L", "LA", "RGB", "RGBA", "I;16"},
    "PNG": {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"},
    "PPM": {"1", "L", "RGB", "I;16"},
    "TIFF": {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"},
    "WEBP": {"RGB", "RGBA"},
}

# Modes that hold the same picture, for formats that lack the first one.
_SAME_PICTURE = {
    "1": ("L", "RGB"),
    "L": ("RGB",),
    "LA": ("RGBA",),
    "La": ("LA", "RGBA"),
    "PA": ("RGBA",),
    "RGBa": ("RGBA",),
    "RGBX": ("RGB",),
    "CMYK": ("RGB",),
    "YCbCr": ("RGB",),
    "HSV": ("RGB",),
}


class ImageFileError(OSError, ValueError):
    """A file could not be read or written; the message names it, says why, and what to do.

    Attributes
    ----------
    path : str
        The file.
    problem : str
        The message without the path.

    Examples
    --------
    >>> str(ImageFileError("cat.png", "is empty (0 bytes)"))
    "'cat.png' is empty (0 bytes)"
    """

    def __init__(self, path: PathLike, problem: str) -> None:
        super().__init__(f"{os.fspath(path)!r} {problem}")
        self.path = os.fspath(path)
        self.problem = problem

    def __reduce__(self) -> tuple[type[ImageFileError], tuple[str, str]]:
        # OSError would rebuild itself from the one message; a worker process must be able to send it home
        return type(self), (self.path, self.problem)


# -- images -----------------------------------------------------------------------------------------------------------


def read_image(path: PathLike, /, *, max_pixels: int | None = MAX_PIXELS) -> Image:
    """Image of a file, upright, with what came with it.

    The format is found from the content, not from the suffix. Of animated and multi-page files the first frame is read. The
    EXIF orientation is applied and removed. `image.info` keeps `icc_profile`, `dpi` and `exif` (descriptive tags, camera
    and GPS data). A transparent colour key (PNG, mode L or RGB) becomes a real alpha channel.

    Parameters
    ----------
    path : path
        File in one of the `FORMATS`.
    max_pixels : int or None, optional
        Largest width times height to decode; None for no limit.

    Returns
    -------
    PIL image, or uint16 array of shape (H, W, C)
        Modes 1, L, LA, P, RGB, RGBA, CMYK, I;16, I and F stay what they are. PIL has no mode for 16-bit *colour* (PNG and
        TIFF): that comes as a NumPy array with C = 2, 3 or 4, which all of the toolkit takes too, `write_image` included.

    Raises
    ------
    ImageFileError
        If the file is missing, empty, no image, truncated, damaged or larger than `max_pixels`.

    Examples
    --------
    >>> write_image(np.zeros((2, 3, 3), dtype=np.uint8), "black.png")
    >>> read_image("black.png").size
    (3, 2)
    """
    if max_pixels is not None:
        max_pixels = _checks.whole_number(max_pixels, "max_pixels")
    with _open_file(path) as stream:
        image = _header(stream, path, max_pixels)
        with _reporting(path, "cannot be read without loss"):
            readings = _sixteen_bit.byte_readings(image)
        if not readings:
            return _upright(_decoded(image, path))
        halves = []
        for raw_mode in readings:
            image = _header(stream, path, max_pixels)
            _sixteen_bit.reread(image, raw_mode)
            halves.append(np.asarray(_image_metadata.upright(_decoded(image, path))))
        return _sixteen_bit.joined(halves)


def write_image(image: Image, path: PathLike, /, *, like: PILImage | None = None, quality: int = 95) -> None:
    """Write an image file, whole or not at all; folders above it are made.

    The format follows the suffix. PNG, TIFF (uncompressed), BMP, PPM and JPEG 2000 are lossless; JPEG is written at full colour
    resolution (4:4:4). ICC profile, resolution and EXIF of `like`, or else of `image`, are kept where the format has a
    place for them (16-bit colour is written without); a pending EXIF orientation is applied first. An existing file is
    replaced.

    Parameters
    ----------
    image : PIL image or array of shape (H, W) or (H, W, C)
        Any mode; as an array: bool, uint8, uint16, or int32 and floating-point grey levels. See `from_array`.
    path : path
        Its suffix is one of the `FORMATS`.
    like : PIL image, optional
        Where metadata come from, usually the image that was read.
    quality : int, optional
        1 to 100, for JPEG, WebP and AVIF.

    Raises
    ------
    ImageFileError
        If the suffix is unknown, the format cannot hold the image (alpha in a JPEG, 16 bits in a WebP), or the file
        cannot be written.
    TypeError, ValueError
        If `image` is not an image.

    Examples
    --------
    >>> write_image(np.full((4, 4), 1000, dtype=np.uint16), "depth/map.png")
    >>> read_image("depth/map.png").mode
    'I;16'
    """
    quality = _checks.whole_number(quality, "quality", minimum=1, maximum=100)
    kind = _format_of(path)
    if not _array.is_pil(image):
        pixels = _array.to_numpy(_array.asarray(image, "image"))
        if pixels.ndim == 3 and pixels.dtype == np.uint16 and pixels.shape[2] in (2, 3, 4):
            _write_sixteen_bit_colour(pixels, path, kind)
            return
        image = from_array(pixels)
    metadata = _image_metadata.lasting(image if like is None else like)
    image = _fitting(_image_metadata.upright(image), path, kind)
    with _replacing(path) as stream, _reporting(path, "could not be encoded"):
        image.save(
            stream, format=kind, **_encoder_options(kind, quality), **_image_metadata.applicable(metadata, image.mode)
        )


def find_images(paths: PathLike | Iterable[PathLike], /, *, recursive: bool = False) -> list[Path]:
    """Files that paths, folders and glob patterns stand for.

    Files are taken as they are, whatever their suffix; folders and patterns give their image files (`FORMATS`), sorted by
    name, without hidden ones. A file that comes up twice is listed once, at its first place.

    Parameters
    ----------
    paths : path, or iterable of paths
        Files, folders, and patterns with `*`, `?`, `[...]` or `**`.
    recursive : bool, optional
        Whether folders are searched with all that is below them.

    Returns
    -------
    list of Path

    Raises
    ------
    ImageFileError
        If a path does not exist, or a folder or pattern has no image.

    Examples
    --------
    >>> write_image(np.zeros((2, 2), dtype=np.uint8), "photos/b.png")
    >>> write_image(np.zeros((2, 2), dtype=np.uint8), "photos/a.jpg")
    >>> [path.name for path in find_images("photos")]
    ['a.jpg', 'b.png']
    """
    items = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found: dict[Path, None] = {}  # ordered, without doubles
    for item in items:
        found.update(dict.fromkeys(_expanded(_checked_path(item), recursive)))
    return list(found)


# -- arrays -----------------------------------------------------------------------------------------------------------


def to_array(image: PILImage, /) -> Ndarray:
    """Pixels of a PIL image as a NumPy array, palette colours looked up.

    Parameters
    ----------
    image : PIL image
        Any mode.

    Returns
    -------
    array of shape (H, W) or (H, W, C)
        Mode 1 gives bool, I;16 uint16, I int32, F float32, all else uint8. P gives RGB, or RGBA where it has transparency.

    Raises
    ------
    TypeError
        If `image` is not a PIL image.

    Examples
    --------
    >>> from PIL import Image
    >>> to_array(Image.new("LA", (3, 2))).shape
    (2, 3, 2)
    """
    if not _array.is_pil(image):
        raise TypeError(f"`image` must be a PIL image, got {_checks.describe(image)}")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    array = np.array(image)
    return array.astype(array.dtype.newbyteorder("=")) if image.mode.startswith("I;16") else array


def from_array(array: Any, /, *, mode: str | None = None) -> PILImage:
    """PIL image of an array.

    Parameters
    ----------
    array : array of shape (H, W) or (H, W, C)
        bool and (H, W) gives mode 1; uint8 gives L, LA, RGB or RGBA by C = 1, 2, 3, 4; uint16 and (H, W) gives I;16;
        other integers and (H, W) give I where they fit into 32 bits; floats and (H, W) give F, unscaled.
    mode : str, optional
        Another 8-bit PIL mode with C bands, such as "CMYK" or "HSV"; the values are not converted.

    Returns
    -------
    PIL image

    Raises
    ------
    TypeError, ValueError
        If PIL has no mode for the shape and dtype: floating-point colour, 16-bit colour, batches.

    Examples
    --------
    >>> from_array(np.zeros((2, 3, 3), dtype=np.uint8)).mode
    'RGB'
    >>> from_array(np.zeros((2, 3)) + 0.5).mode
    'F'
    """
    from PIL import Image as PIL

    pixels = _array.to_numpy(_array.asarray(array, "array"))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.size == 0 or pixels.ndim not in (2, 3):
        raise ValueError(f"`array` must have shape (H, W) or (H, W, C) and not be empty, got shape {pixels.shape}")
    if pixels.ndim == 3:
        _check_colour(pixels)
    else:
        pixels = _grey_pixels(pixels)
    image = PIL.fromarray(np.ascontiguousarray(pixels))
    if mode is None or mode == image.mode:
        return image
    try:
        bands = PIL.getmodebands(mode)
    except (KeyError, TypeError):
        bands = 0
    if bands != len(image.getbands()) or pixels.dtype != np.uint8:
        raise ValueError(
            f"`mode` must be an 8-bit PIL mode with as many bands as `array` has, got {mode!r} for "
            f"{_checks.describe(pixels)}; leave it out to get {image.mode}"
        )
    return PIL.merge(mode, image.split())


# -- heatmaps and JSON --------------------------------------------------------------------------------------------------


def read_heatmap(path: PathLike, /, *, max_pixels: int | None = MAX_PIXELS) -> Ndarray:
    """Heatmap of a file: a grey-level image, `.npy`, or `.npz` with one array.

    Parameters
    ----------
    path : path
        Image of 1, 8, 16 or 32 bits, integer or floating-point; colour images only where all channels agree. Arrays of
        shape (h, w), or (1, h, w) and (h, w, 1).
    max_pixels : int or None, optional
        Largest width times height to decode; None for no limit.

    Returns
    -------
    float64 array of shape (h, w)
        Non-negative, finite, at the file's own scale (an 8-bit image runs from 0 to 255).

    Raises
    ------
    ImageFileError
        If the file cannot be read, is in colour, or holds something that is no heatmap.

    Examples
    --------
    >>> np.save("map.npy", [[0, 1], [2, 3]])
    >>> read_heatmap("map.npy")
    array([[0., 1.],
           [2., 3.]])
    """
    name = _checked_path(path)
    if Path(name).suffix.lower() in (".npy", ".npz"):
        values = _read_numpy(name)
    else:
        image = read_image(name, max_pixels=max_pixels)
        values = _grey_levels(to_array(image) if _array.is_pil(image) else image, name)
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2:
        raise ImageFileError(name, f"must hold one 2-D heatmap (h, w), got shape {values.shape}; save one map a file")
    try:
        return np.asarray(_checks.weights(values, "heatmap"), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ImageFileError(name, f"holds no heatmap: {error}") from error


def write_json(data: Any, path: PathLike, /) -> None:
    """Write a JSON file, whole or not at all; folders above it are made.

    Numbers are written so that reading them gives the same float64 back. NumPy scalars and arrays become numbers and
    lists.

    Parameters
    ----------
    data : dict, list, number, string, bool or None
        What JSON can hold, such as `warp.to_dict()`.
    path : path
        An existing file is replaced.

    Raises
    ------
    ImageFileError
        If the file cannot be written.
    TypeError, ValueError
        If `data` holds what JSON cannot: NaN, infinity, other objects.

    Examples
    --------
    >>> write_json({"source_hw": (2, 3)}, "warp.json")
    >>> read_json("warp.json")
    {'source_hw': [2, 3]}
    """
    try:
        text = json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False, default=_plain)
    except ValueError as error:
        raise ValueError(f"`data` must hold finite numbers only and no cycles, for JSON: {error}") from error
    with _replacing(path) as stream:
        stream.write(text.encode() + b"\n")


def read_json(path: PathLike, /) -> Any:
    """Content of a JSON file.

    Parameters
    ----------
    path : path
        UTF-8 file.

    Returns
    -------
    dict, list, number, string, bool or None

    Raises
    ------
    ImageFileError
        If the file is missing, or is no JSON; the message says where.

    Examples
    --------
    >>> write_json([1, 2.5], "numbers.json")
    >>> read_json("numbers.json")
    [1, 2.5]
    """
    with _open_file(path) as stream, _reporting(path, "could not be read"):
        content = stream.read()
    try:
        return json.loads(content)
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError
        raise ImageFileError(path, f"is no JSON: {error}") from error


# -- reading ----------------------------------------------------------------------------------------------------------


def _checked_path(path: object) -> str:
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"`path` must be a str or a pathlib.Path, got {_checks.describe(path)}")
    return os.fspath(path)


@contextlib.contextmanager
def _reporting(path: PathLike, what: str) -> Iterator[None]:
    """Turn whatever a decoder or encoder raises on bad bytes (that is: anything) into an `ImageFileError`."""
    try:
        yield
    except (ImageFileError, MemoryError):
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageFileError(path, f"{what}: {reason}") from error


def _open_file(path: PathLike) -> BinaryIO:
    name = _checked_path(path)
    with _reporting(name, "could not be opened"):
        if os.path.isdir(name):
            raise ImageFileError(name, "is a folder, not a file; name a file in it")
        if not os.path.exists(name):
            raise ImageFileError(name, "does not exist")
        if not os.path.isfile(name):  # a pipe would wait for ever
            raise ImageFileError(name, "is not a regular file; copy its content to one first")
        if os.path.getsize(name) == 0:
            raise ImageFileError(name, "is empty (0 bytes); the copy or download it comes from may have failed")
        return open(name, "rb")


def _header(stream: BinaryIO, path: PathLike, max_pixels: int | None) -> Any:
    """Pillow's lazy image of the file: header read, size checked, nothing decoded.

    `PIL.Image.open` keeps its size limit in a global, which no thread may change for another. Asking the formats one by
    one does the same without it, and leaves out formats that run programs (EPS) or hold no photographs.
    """
    from PIL import Image as PIL

    PIL.init()
    stream.seek(0)
    prefix = stream.read(16)
    reason = "it does not start like " + ", ".join(sorted(set(FORMATS.values())))
    for kind in sorted(set(FORMATS.values()) & PIL.OPEN.keys()):  # AVIF, JPEG 2000 and WebP are optional in Pillow
        factory, accepts = PIL.OPEN[kind]
        if accepts is None or accepts(prefix) is not True:
            continue
        try:
            stream.seek(0)
            image = factory(stream, os.fspath(path))
        except Exception as error:  # plugins raise anything on bad bytes
            reason = f"it starts like {kind}, but its header is damaged or cut off ({error or type(error).__name__})"
            continue
        _check_size(image.size, path, max_pixels)
        return image
    raise ImageFileError(path, f"is no image that can be read: {reason}")


def _check_size(size: tuple[int, int], path: PathLike, max_pixels: int | None) -> None:
    width, height = size
    if max_pixels is not None and width * height > max_pixels:
        raise ImageFileError(
            path,
            f"claims {width} x {height} pixels, {width * height} in all and more than `max_pixels` = {max_pixels}; "
            "if you trust it, pass a larger `max_pixels=`, or None",
        )


def _decoded(image: Any, path: PathLike) -> Any:
    with _reporting(path, "is damaged or truncated"):
        image.load()
    return image


def _upright(image: Any) -> PILImage:
    """A plain image, free of its file: orientation applied, alpha made real, only metadata that still hold."""
    metadata = _image_metadata.lasting(image)
    upright: PILImage = _image_metadata.upright(image).copy()
    if upright.mode in ("L", "RGB") and "transparency" in upright.info:
        upright = upright.convert(upright.mode + "A")  # a colour key would match nothing after resampling
    elif upright.mode == "I;16B" or (upright.mode == "I" and image.format == "PPM"):  # 16-bit grey under other names
        upright = from_array(np.asarray(upright).astype(np.uint16))
    transparency = upright.info.get("transparency")  # of a palette
    upright.info.clear()
    upright.info.update(metadata if transparency is None else metadata | {"transparency": transparency})
    return upright


def _read_numpy(path: str) -> Ndarray:
    """The one array of a .npy or .npz file, which must be real and must not need unpickling."""
    with _open_file(path) as stream, _reporting(path, "is no NumPy file that can be read"):
        content = np.load(stream, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        if len(content.files) != 1:
            names = ", ".join(content.files) or "none"
            raise ImageFileError(
                path, f"must hold one array, it has {len(content.files)} ({names}); save one with np.save"
            )
        return np.asarray(content[content.files[0]])


def _grey_levels(pixels: Ndarray, path: str) -> Ndarray:
    """(h, w) of decoded pixels: grey as it is, colour where all channels agree and nothing is transparent."""
    if pixels.ndim == 2:
        return pixels
    channels = pixels.shape[2]
    colour, alpha = (pixels[..., :-1], pixels[..., -1]) if channels in (2, 4) else (pixels, None)
    if alpha is not None and not (alpha == np.iinfo(pixels.dtype).max).all():
        raise ImageFileError(path, "is transparent somewhere, which no heatmap is; remove its alpha channel")
    if not (colour == colour[..., :1]).all():
        raise ImageFileError(path, "is in colour; save the heatmap as grey levels, or as .npy")
    return colour[..., 0]


# -- writing ----------------------------------------------------------------------------------------------------------


def _format_of(path: PathLike) -> str:
    from PIL import Image as PIL

    suffix = Path(_checked_path(path)).suffix.lower()
    if suffix not in FORMATS:
        raise ImageFileError(path, f"needs an image suffix, one of {', '.join(FORMATS)}; got {suffix or 'none'!r}")
    PIL.init()
    if FORMATS[suffix] not in PIL.SAVE:
        raise ImageFileError(path, f"cannot be written: this Pillow was built without {FORMATS[suffix]}; use .png")
    return FORMATS[suffix]


def _fitting(image: Any, path: PathLike, kind: str) -> Any:
    """`image` in a mode that `kind` stores, with the same picture; an error where bits or alpha would be lost."""
    if image.mode == "P":
        same: tuple[str, ...] = ("RGBA",) if image.has_transparency_data else ("RGB",)
    else:
        same = _SAME_PICTURE.get(image.mode, ())
    if image.mode in ("LA", "RGBA") and image.getchannel("A").getextrema() == (255, 255):  # opaque: nothing to lose
        same = (*same, "L", "RGB") if image.mode == "LA" else ("RGB",)
    for mode in (image.mode, *same):
        if mode in _HOLDS[kind]:
            return image if mode == image.mode else image.convert(mode)
    suffixes = [suffix for suffix, other in FORMATS.items() if _HOLDS[other] & {image.mode, *same}]
    raise ImageFileError(
        path,
        f"cannot be written: {kind} holds no image of mode {image.mode} without losing bits or alpha; "
        f"use {', '.join(suffixes) or '.png'}, or convert the image first",
    )


def _encoder_options(kind: str, quality: int) -> dict[str, Any]:
    if kind == "JPEG":  # 4:4:4: magnified colour edges are what one looks at
        return {"quality": quality, "subsampling": 0}
    if kind in ("WEBP", "AVIF"):
        return {"quality": quality}
    return {}  # TIFF stays uncompressed: Pillow writes no camera and GPS directories into a compressed one


def _write_sixteen_bit_colour(pixels: Ndarray, path: PathLike, kind: str) -> None:
    writer = {"PNG": _sixteen_bit.write_png, "TIFF": _sixteen_bit.write_tiff}.get(kind)
    if writer is None or (kind == "TIFF" and pixels.shape[2] == 2):
        channels = {2: "grey and alpha", 3: "RGB", 4: "RGBA"}[pixels.shape[2]]
        raise ImageFileError(path, f"cannot be written: 16-bit {channels} does not go into {kind} here; use .png")
    if pixels.size == 0:
        raise ValueError(f"`image` must not be empty, got shape {pixels.shape}")
    with _replacing(path) as stream, _reporting(path, "could not be encoded"):
        writer(stream, pixels)


@contextlib.contextmanager
def _replacing(path: PathLike) -> Iterator[BinaryIO]:
    """A stream whose content appears under `path` at once when the block ends, and nowhere when it fails."""
    name = _checked_path(path)
    with _reporting(name, "could not be written"):
        target = os.path.realpath(name)  # a link stays a link
        if os.path.isdir(target):
            raise ImageFileError(name, "is a folder; add a file name")
        folder = os.path.dirname(target)
        os.makedirs(folder, exist_ok=True)
        temporary = os.path.join(folder, f".{secrets.token_hex(8)}.tmp")
        try:
            with open(temporary, "xb") as stream:
                yield stream
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def _plain(value: object) -> Any:
    """NumPy values for `json.dumps`."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"`data` must hold only what JSON can, got {_checks.describe(value)}")


# -- arrays and lists -------------------------------------------------------------------------------------------------


def _check_colour(pixels: Ndarray) -> None:
    if pixels.dtype == np.uint8 and pixels.shape[2] in (2, 3, 4):
        return
    if pixels.dtype == np.uint16:
        raise TypeError("`array` has 16-bit colour, which PIL has no mode for; keep the array, or scale it to uint8")
    if pixels.shape[2] in (2, 3, 4):
        raise TypeError(
            f"`array` must be uint8 for colour, got dtype {pixels.dtype}; for values in [0, 1] pass "
            "`(array * 255).round().astype('uint8')`"
        )
    raise ValueError(
        f"`array` must have shape (H, W) or (H, W, C) with C = 1, 2, 3 or 4, got {pixels.shape}; "
        "PyTorch's (C, H, W) needs `.permute(1, 2, 0)`"
    )


def _grey_pixels(pixels: Ndarray) -> Ndarray:
    """2-D `pixels` in a dtype that PIL has a grey mode for."""
    if pixels.dtype in (np.bool_, np.uint8):
        return pixels
    if pixels.dtype == np.uint16:
        return pixels.astype("<u2")  # I;16 is little-endian
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    if pixels.dtype.kind not in "iu":
        raise TypeError(f"`array` must hold real numbers or booleans, got dtype {pixels.dtype}")
    if pixels.min() < -(2**31) or pixels.max() >= 2**31:
        raise ValueError("`array` must fit into 32 bits (mode I), got values beyond; scale it, or make it float")
    return pixels.astype(np.int32)


def _expanded(path: str, recursive: bool) -> list[Path]:
    if os.path.isdir(path):
        entries = Path(path).rglob("*") if recursive else Path(path).iterdir()
        found, where = _image_files(entries, below=Path(path)), "folder has"
    elif os.path.exists(path):
        return [Path(path)]
    elif glob.has_magic(path):
        entries = (Path(match) for match in glob.iglob(path, recursive=True))
        found, where = _image_files(entries), "pattern matches"
    else:
        raise ImageFileError(path, "does not exist")
    if not found:
        raise ImageFileError(path, f"{where} no image; suffixes looked for: {', '.join(FORMATS)}")
    return found


def _image_files(entries: Iterable[Path], *, below: Path | None = None) -> list[Path]:
    """The image files among `entries`, sorted, without those hidden themselves or in a hidden folder `below`."""

    def shown(entry: Path) -> bool:
        parts = entry.relative_to(below).parts if below else (entry.name,)
        return not any(part.startswith(".") for part in parts)

    return sorted(entry for entry in entries if entry.suffix.lower() in FORMATS and shown(entry) and entry.is_file())
