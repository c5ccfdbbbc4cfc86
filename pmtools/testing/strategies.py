"""Hypothesis strategies for everything a warp takes: heatmaps, sizes, warps, images, points and boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import pmtools
from pmtools.typing import Ndarray, SizeHW


def sizes(max_side: int = 64) -> st.SearchStrategy[SizeHW]:
    """Image sizes (height, width), including 1 x 1 and needles.

    Parameters
    ----------
    max_side : int, optional
        Greatest side in pixels.
    """
    side = st.integers(1, max_side)
    return st.tuples(side, side)


def heatmaps(max_side: int = 12) -> st.SearchStrategy[Ndarray]:
    """Heatmaps (h, w), ordinary and degenerate: noise, single cells, constant and all-zero maps, any scale.

    Parameters
    ----------
    max_side : int, optional
        Greatest side in cells.
    """
    shape = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=max_side)
    values = st.one_of(
        st.floats(0, 1, allow_subnormal=False),
        st.sampled_from([0.0, 1.0, 1e-12, 1e12]),
    )
    noise = hnp.arrays(np.float64, shape, elements=values)
    peaks = hnp.arrays(np.float64, shape, elements=values, fill=st.just(0.0))
    constant = shape.flatmap(lambda s: values.map(lambda v: np.full(s, v)))
    masks = hnp.arrays(np.bool_, shape)
    return st.one_of(noise, peaks, constant, masks)


@st.composite
def warps(
    draw: st.DrawFn,
    *,
    max_side: int = 64,
    source_hw: SizeHW | None = None,
    target_hw: SizeHW | None = None,
    floors: st.SearchStrategy[float] | None = None,
) -> pmtools.Warp:
    """Warps of drawn maps, sizes and options, from raw cells and from heatmaps.

    Parameters
    ----------
    max_side : int, optional
        Greatest side of source and target in pixels.
    source_hw, target_hw : (int, int), optional
        Fixed sizes.
    floors : strategy of float, optional
        Default: the library's default floor, and floors from 1e-3 to 1.
    """
    source = source_hw or draw(sizes(max_side))
    target = target_hw or draw(st.one_of(st.just(source), sizes(max_side)))
    if floors is None:
        floors = st.one_of(st.just(pmtools.settings.DEFAULTS.floor), st.floats(1e-3, 1.0))
    options: dict[str, Any] = {
        "source_hw": source,
        "target_hw": target,
        "marginal": draw(st.sampled_from(["max", "sum"])),
        "floor": draw(floors),
        "max_magnification": draw(st.one_of(st.none(), st.floats(1.0, 8.0))),
    }
    fit = draw(st.sampled_from([pmtools.Warp.from_map, pmtools.fit_warp]))
    return fit(draw(heatmaps()), **options)


@st.composite
def images(
    draw: st.DrawFn,
    *,
    size_hw: SizeHW | None = None,
    dtypes: st.SearchStrategy[Any] | None = None,
    max_side: int = 32,
) -> Ndarray:
    """NumPy images (H, W) or (H, W, C) with 1 to 4 channels, every dtype of images.

    Parameters
    ----------
    size_hw : (int, int), optional
        Fixed height and width.
    dtypes : strategy of dtype, optional
        Default: bool, uint8, uint16, int16, int32, float16, float32 and float64.
    max_side : int, optional
        Greatest side in pixels.
    """
    size = size_hw or draw(sizes(max_side))
    names = ["bool", "uint8", "uint16", "int16", "int32", "float16", "float32", "float64"]
    dtype = np.dtype(draw(dtypes if dtypes is not None else st.sampled_from(names)))
    shape = (*size, *draw(st.sampled_from([(), (1,), (3,), (4,)])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype.kind == "f":
        return rng.random(shape).astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, size=shape, dtype=dtype, endpoint=True)


def points(size_hw: SizeHW, *, max_count: int = 20, margin: float = 0.0) -> st.SearchStrategy[Ndarray]:
    """Points (n, 2), x and y in pixels.

    Parameters
    ----------
    size_hw : (int, int)
        Height and width of the image.
    max_count : int, optional
        Greatest number of points; 0 points are drawn too.
    margin : float, optional
        How far beyond the image they may lie, as a share of its sides.
    """
    span = np.array([size_hw[1], size_hw[0]], dtype=np.float64)
    shape = st.integers(0, max_count).map(lambda n: (n, 2))
    share = hnp.arrays(np.float64, shape, elements=st.floats(-margin, 1 + margin))
    return share.map(lambda values: values * span)


def boxes(size_hw: SizeHW, *, max_count: int = 20) -> st.SearchStrategy[Ndarray]:
    """Boxes (n, 4) inside an image, x0 <= x1 and y0 <= y1, including empty ones.

    Parameters
    ----------
    size_hw : (int, int)
        Height and width of the image.
    max_count : int, optional
        Greatest number of boxes.
    """
    corners = st.integers(0, max_count).flatmap(
        lambda n: hnp.arrays(np.float64, (n, 2, 2), elements=st.floats(0, 1, allow_subnormal=False))
    )
    span = np.array([size_hw[1], size_hw[0]], dtype=np.float64)
    return corners.map(lambda values: (np.sort(values, axis=1) * span).reshape(-1, 4))
