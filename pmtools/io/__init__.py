"""Image files, heatmap files and JSON files, in and out, without losing what they hold.

Reading takes paths, bytes and binary streams, turns the picture upright (EXIF orientation) and keeps alpha, palette, 16
bits, every frame, ICC profile, resolution, XMP and descriptive EXIF. Writing goes to a temporary name in the same folder
and is renamed at the end, so a file is either there and whole or not there. Everything that is wrong with a file is an
`ImageFileError` that names it.

Knows files, PIL images and NumPy arrays; no warp, no heatmap arithmetic. All functions are safe to call from several
threads: no global setting of Pillow is touched.
"""

from __future__ import annotations

from pmtools.io.arrays import from_array, to_array
from pmtools.io.files import ImageFileError
from pmtools.io.finding import find_images
from pmtools.io.formats import FORMATS
from pmtools.io.frames import Frames
from pmtools.io.heatmap_files import read_heatmap
from pmtools.io.json_files import read_json, write_json
from pmtools.io.reading import MAX_PIXELS, read_frames, read_image
from pmtools.io.writing import write_frames, write_image

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Frames",
    "ImageFileError",
    "find_images",
    "from_array",
    "read_frames",
    "read_heatmap",
    "read_image",
    "read_json",
    "to_array",
    "write_frames",
    "write_image",
    "write_json",
]
