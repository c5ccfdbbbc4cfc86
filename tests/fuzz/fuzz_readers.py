"""Readers of images, heatmaps, warps and JSON on damaged files: a result or an error that names the file, never another one.

    python tests/fuzz/fuzz_readers.py [CASES] [FIRST_SEED]

Case `n` is always the same file. What a case wants of memory is bounded by `MAX_PIXELS`. What is read must also come back
the same when it is written and read again, and a heatmap and a warp must be usable.
"""

from __future__ import annotations

import collections
import contextlib
import io as stdio
import json
import logging
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import tifffile
from damage import damaged
from PIL import Image

from pmtools import Warp, fit_warp, io, zoom_warp
from pmtools.cli.box_lists import BoxList
from pmtools.cli.console import CommandError
from pmtools.cli.options import BoxFormat, Units

MAX_PIXELS = 1 << 20
FOLDER = Path()  # for what is read from files only
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
        "grey.png": saved(grey, "PNG", transparency=7, gamma=0.5),
        "bits.png": saved(grey.convert("1"), "PNG"),
        "palette.png": saved(colour.quantize(9), "PNG", transparency=3),
        "sixteen.png": stored(lambda s, a: io.write_image(a, s, format="png"), noise((9, 8, 3), "uint16")),
        "apng": saved(colour, "PNG", duration=[10, 20, 30], **more),
        "jpg": saved(colour, "JPEG", exif=exif),
        "mpo": saved(colour, "MPO", **more),
        "gif": saved(colour, "GIF", duration=[10, 20, 30], **more),
        "webp": saved(colour, "WEBP", lossless=True, exif=exif, **more),
        "lossy.webp": saved(colour, "WEBP", xmp=b"<x/>"),
        "cmyk.jpg": saved(colour.convert("CMYK"), "JPEG", progressive=True),
        "palette.bmp": saved(colour.quantize(9), "BMP"),
        "bmp": saved(colour, "BMP"),
        "ppm": saved(colour, "PPM"),
        "jp2": saved(colour, "JPEG2000"),
        "tif": saved(colour, "TIFF", exif=exif),
        "palette.tif": saved(colour.quantize(9), "TIFF", compression="packbits"),
        "bits.tif": saved(grey.convert("1"), "TIFF", compression="group4"),
        "cmyk.tif": saved(colour.convert("CMYK"), "TIFF", compression="tiff_adobe_deflate"),
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
    files["warp.json"] = stored(lambda s: io.write_json(warp, s))
    records = [
        {"image": "a.png", "boxes": [[1, 2, 8, 9], [3.5, 4, 20, 25]]},
        {"file_name": "b.png", "bbox": [1, 2, 3, 4]},
    ]
    box = {
        "id": 3,
        "image_id": 1,
        "bbox": [1, 2, 8, 9],
        "area": 72,
        "segmentation": [[1, 2, 9, 2, 9, 11]],
        "iscrowd": 0,
    }
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "height": 30, "width": 40}],
        "annotations": [box, box | {"id": 4}],
    }
    files["boxes.json"] = json.dumps(records).encode()
    files["boxes.jsonl"] = "\n".join(map(json.dumps, records)).encode()
    files["boxes.csv"] = b"image,x0,y0,x1,y1\na.png,1,2,8,9\nb.png,1.5,2,3,4\na.png,3,4,20,25\n"
    files["boxes.txt"] = b"0 0.5 0.5 0.2 0.25\n3 0.25 0.75 0.1 0.1\n"
    files["coco.json"] = json.dumps(coco).encode()
    return files


def read(name, content):
    """What the readers make of a file: "read" or "refused"; anything but their own error is a fault."""
    if name.startswith("boxes") or name == "coco.json":
        return read_boxes(name.removeprefix("boxes."), content)
    if name == "warp.json":
        return read_warp(content)
    if not name.startswith("np"):
        frames = io.read_frames(content, max_pixels=MAX_PIXELS)
        if all(np.ndim(image) < 3 or np.shape(image)[2] < min(np.shape(image)[:2]) for image in frames.images):
            again = stdio.BytesIO()  # more channels than sides are another layout
            io.write_frames(frames, again, format="tif")
            back = io.read_frames(again.getvalue())
            for before, after in zip(frames.images, back.images, strict=True):
                assert np.array_equal(pixels(before), pixels(after), equal_nan=True), "written and read, it is another"
            with contextlib.suppress(io.ImageFileError):  # a format that cannot hold it
                io.write_frames(frames, stdio.BytesIO(), format=frames.format)
        with contextlib.suppress(io.ImageFileError):  # most are in colour
            io.read_heatmap(content, max_pixels=MAX_PIXELS)
        return "read"
    heatmap = io.read_heatmap(content, max_pixels=MAX_PIXELS)
    assert heatmap.ndim == 2, "a heatmap of another shape"
    assert np.isfinite(heatmap).all(), "a heatmap that is not finite"
    return "read"


def pixels(image):
    """All that an image holds, whatever its mode."""
    values = io.to_array(image) if hasattr(image, "getbands") else np.asarray(image)
    return values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values


def read_warp(content):
    data = io.read_json(content)
    try:
        warp = Warp.from_dict(data)
    except (TypeError, ValueError):
        return "refused"
    again = Warp.from_dict(json.loads(json.dumps(warp.to_dict())))
    assert again.to_dict() == warp.to_dict(), "written and read, it is another"
    corners = np.array([[0, 0], warp.source_hw[::-1]], dtype=np.float64)
    shown = warp.points(corners)
    assert np.isfinite(shown).all(), "a corner that is nowhere"
    warp.inverse().points(shown)
    return "read"


def read_boxes(kind, content):
    """Boxes of images, as `--boxes` reads them, and what `pmtools coords` maps."""
    path = FOLDER / f"x.{kind}"
    if kind == "txt":
        path = FOLDER / "labels"
        path.mkdir(exist_ok=True)
        (path / "a.txt").write_bytes(content)
    else:
        path.write_bytes(content)
    try:
        boxes = BoxList(path, Units.PIXELS, BoxFormat.XYXY).boxes_for(Path("a.png"), (30, 40))
        zoom_warp(boxes, source_hw=(30, 40))
    except (CommandError, ValueError):
        return "refused"
    return "read"


def main():
    cases, first = (int(text) for text in (sys.argv[1:] + ["10000", "0"][len(sys.argv) - 1 :])[:2])
    files = list(whole_files().items())
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    faults, slowest = 0, (0.0, 0)
    warnings.simplefilter("ignore")  # of Pillow and tifffile, about what they find
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    with open(os.devnull, "wb") as nowhere:  # libtiff writes there
        os.dup2(nowhere.fileno(), 2)
    sys.stderr = sys.stdout
    for name, content in files:
        assert read(name, content) == "read", name
    for seed in range(first, first + cases):
        name, content = files[seed % len(files)]
        start = time.monotonic()
        try:
            counts[name][read(name, damaged(content, np.random.default_rng(seed)))] += 1
        except io.ImageFileError:
            counts[name]["refused"] += 1
        except Exception as error:
            faults += 1
            counts[name]["faults"] += 1
            print(f"seed {seed}, {name}: {type(error).__name__}: {error}", flush=True)
        slowest = max(slowest, (time.monotonic() - start, seed))
        if seed % 100_000 == 99_999:
            print(f"seed {seed}: {faults} faults", flush=True)
    for name, count in counts.items():
        print(f"{name:14} {count['read']:8} read {count['refused']:8} refused {count['faults']:4} faults")
    total = sum(counts.values(), collections.Counter())
    print(
        f"{cases} cases from seed {first}: {total['read']} read, {total['refused']} refused, {faults} faults; "
        f"the slowest took {slowest[0]:.2f} s (seed {slowest[1]}), "
        f"memory was {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most"
    )
    raise SystemExit(min(faults, 1))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        FOLDER = Path(folder)
        main()
