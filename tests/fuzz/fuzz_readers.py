"""Readers of images, heatmaps, warps and JSON on damaged files: a result or an error that names the file, never another one.

    python tests/fuzz/fuzz_readers.py [CASES] [FIRST_SEED]

Case `n` is always the same file. What a case wants of memory is bounded by `MAX_PIXELS`.
"""

from __future__ import annotations

import collections
import contextlib
import io as stdio
import logging
import sys
import time
import warnings

import numpy as np
import tifffile
from PIL import Image

from pmtools import Warp, fit_warp, io

MAX_PIXELS = 1 << 20
Image.init()


def noise(shape, dtype="uint8"):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def saved(image, kind, **options):
    stream = stdio.BytesIO()
    image.copy().save(stream, kind, **options)  # without what an earlier save left in it
    return stream.getvalue()


def stored(write, *arguments, **options):
    stream = stdio.BytesIO()
    write(stream, *arguments, **options)
    return stream.getvalue()


def whole_files():
    """Files of every kind, by name."""
    colour, grey = Image.fromarray(noise((12, 14, 3))), Image.fromarray(noise((12, 14)))
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "pmtools", 6
    more = {"save_all": True, "append_images": [colour.rotate(180), grey.convert("RGB")]}
    files = {
        "png": saved(colour, "PNG", exif=exif, dpi=(72, 72)),
        "palette.png": saved(colour.quantize(9), "PNG", transparency=3),
        "sixteen.png": stored(lambda s, a: io.write_image(a, s, format="png"), noise((9, 8, 3), "uint16")),
        "apng": saved(colour, "PNG", duration=[10, 20, 30], **more),
        "jpg": saved(colour, "JPEG", exif=exif),
        "mpo": saved(colour, "MPO", **more),
        "gif": saved(colour, "GIF", duration=[10, 20, 30], **more),
        "webp": saved(colour, "WEBP", lossless=True, exif=exif, **more),
        "lossy.webp": saved(colour, "WEBP", xmp=b"<x/>"),
        "bmp": saved(colour, "BMP"),
        "ppm": saved(colour, "PPM"),
        "jp2": saved(colour, "JPEG2000"),
        "tif": saved(colour, "TIFF", exif=exif),
        "pages.tif": saved(colour, "TIFF", compression="tiff_lzw", save_all=True, append_images=[grey]),
    }
    if "AVIF" in Image.SAVE:
        files["avif"] = saved(colour, "AVIF")
    for name, values, options in (
        ("double.tif", noise((9, 8), "float64"), {}),
        ("big.tif", noise((3, 9, 8), "uint32"), {"bigtiff": True, "byteorder": ">", "photometric": "minisblack"}),
        ("tiles.tif", noise((40, 40, 3), "uint16"), {"tile": (16, 16), "compression": "zlib", "photometric": "rgb"}),
        ("planes.tif", noise((3, 9, 8), "int16"), {"planarconfig": "separate", "photometric": "rgb"}),
    ):
        files[name] = stored(tifffile.imwrite, values, **options)
    files["npy"] = stored(np.save, noise((9, 8), "float32"))
    files["npz"] = stored(np.savez_compressed, noise((9, 8)))
    warp = fit_warp(np.eye(4), source_hw=(30, 40)).to_dict()
    files["json"] = stored(lambda s: io.write_json(warp, s))
    return files


def damaged(content, rng):
    """A file with bytes changed, cut out, doubled or put to their extremes."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        if not data:
            break
        at = int(rng.integers(len(data))) if rng.random() < 0.5 else int(rng.integers(min(len(data), 200)))
        match rng.integers(6):
            case 0:
                data[at] = rng.integers(256)
            case 1:
                data[at] ^= 1 << int(rng.integers(8))
            case 2:
                del data[at : at + int(rng.integers(1, 40))]
            case 3:
                data[at:at] = data[at : at + int(rng.integers(1, 40))]
            case 4:
                data[at : at + 4] = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1"][
                    rng.integers(4)
                ]
            case 5:
                del data[at:]
    return bytes(data)


def read(name, content):
    """What the readers make of a file; anything but their own error is a fault."""
    if name == "json":
        data = io.read_json(content)
        try:
            Warp.from_dict(data)
        except (TypeError, ValueError):
            return "refused"
        return "read"
    if not name.startswith("np"):
        frames = io.read_frames(content, max_pixels=MAX_PIXELS)
        if all(np.ndim(image) < 3 or np.shape(image)[2] < min(np.shape(image)[:2]) for image in frames.images):
            io.write_frames(frames, stdio.BytesIO(), format="tif")  # more channels than sides are another layout
        with contextlib.suppress(io.ImageFileError):  # most are in colour
            io.read_heatmap(content, max_pixels=MAX_PIXELS)
    else:
        io.read_heatmap(content, max_pixels=MAX_PIXELS)
    return "read"


def main():
    cases, first = (int(text) for text in (sys.argv[1:] + ["10000", "0"][len(sys.argv) - 1 :])[:2])
    files = list(whole_files().items())
    counts, faults, slowest = collections.Counter(), 0, (0.0, 0)
    warnings.simplefilter("ignore")  # of Pillow and tifffile, about what they find
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    for name, content in files:
        read(name, content)
    for seed in range(first, first + cases):
        name, content = files[seed % len(files)]
        start = time.monotonic()
        try:
            counts[read(name, damaged(content, np.random.default_rng(seed)))] += 1
        except io.ImageFileError:
            counts["refused"] += 1
        except Exception as error:
            faults += 1
            print(f"seed {seed}, {name}: {type(error).__name__}: {error}")
        slowest = max(slowest, (time.monotonic() - start, seed))
    told = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    print(
        f"{cases} cases from seed {first}: {told}, {faults} faults; the slowest took {slowest[0]:.2f} s (seed {slowest[1]})"
    )
    raise SystemExit(min(faults, 1))


if __name__ == "__main__":
    main()
