"""Views: what the demo model sees of a scene in training, and the places of its objects.

They include every kind of change that a method in the benchmark makes, but not with the parameters of a method: smooth
and steep monotone warps, crops, padding, blur, masks, drawn boxes. This file knows scenes, not models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmtools.evaluation.scenes.drawing import SIDE, Scene, draw_scene

INPUT = 96  # side of the model's input, pixels
PATCH = 8
GRID = INPUT // PATCH  # tokens a side
TOKENS = GRID * GRID

GEOMETRIES = {"identity": 0.46, "smooth": 0.14, "steep": 0.18, "crop": 0.14, "pad": 0.08}
WARPS = ("smooth", "steep")
EDITS = {"none": 0.70, "blur": 0.10, "mask": 0.10, "boxes": 0.10}

_UNIFORM = np.linspace(0, SIDE, INPUT + 1)
_PIXELS = np.arange(SIDE, dtype=np.float32)


@dataclass(frozen=True)
class View:
    """A picture as the model sees it.

    Attributes
    ----------
    image : float32 of shape (3, INPUT, INPUT), in [0, 1]
    scene : Scene
        The objects that can still be seen; their geometry is that of the original.
    edges_x, edges_y : float array of shape (INPUT + 1,)
        Source coordinates of the input's pixel edges, increasing.
    """

    image: NDArray[Any]
    scene: Scene
    edges_x: NDArray[Any]
    edges_y: NDArray[Any]

    def boxes(self) -> NDArray[Any]:
        """Boxes of the objects in input pixels, shape (n, 4), clipped to the input."""
        x0, y0, x1, y1 = self.scene.boxes_xyxy.T
        at = np.arange(INPUT + 1)
        return np.stack(
            [
                np.interp(x0, self.edges_x, at),
                np.interp(y0, self.edges_y, at),
                np.interp(x1, self.edges_x, at),
                np.interp(y1, self.edges_y, at),
            ],
            axis=-1,
        )

    def centers(self) -> NDArray[Any]:
        """Centres of the objects in input pixels, shape (n, 2)."""
        at = np.arange(INPUT + 1)
        x, y = self.scene.centers_xy.T
        return np.stack([np.interp(x, self.edges_x, at), np.interp(y, self.edges_y, at)], axis=-1)


def make_view(
    scene: Scene,
    rng: np.random.Generator,
    /,
    *,
    strength: float = 1.0,
    geometry: str | None = None,
    original: NDArray[Any] | None = None,
    warps: bool = True,
) -> View | None:
    """Draw a scene and change it at random; None if no object is left.

    Parameters
    ----------
    scene : Scene
    rng : numpy.random.Generator
    strength : float, optional
        Share of the views that may be changed at all, in [0, 1].
    geometry : str, optional
        A key of `GEOMETRIES`, to make only this change.
    original : float32 array of shape (3, SIDE, SIDE), optional
        The drawn scene, if it already exists.
    warps : bool, optional
        Whether warps are among the changes that are drawn.
    """
    changed = geometry is None and rng.random() < strength
    edit = _choose(rng, EDITS) if changed else "none"
    if geometry is None:
        shares = {name: share for name, share in GEOMETRIES.items() if warps or name not in WARPS}
        geometry = _choose(rng, shares) if changed else "identity"
    edges_x, edges_y = _edges(geometry, scene, rng)
    inside = (
        (scene.centers_xy[:, 0] > edges_x[0])
        & (scene.centers_xy[:, 0] < edges_x[-1])
        & (scene.centers_xy[:, 1] > edges_y[0])
        & (scene.centers_xy[:, 1] < edges_y[-1])
    )
    if not inside.any():
        return None
    original = draw_scene(scene, rng) if original is None else original
    width = float(rng.choice([1.0, 1.0, 1.3, 1.6])) if changed else 1.0
    triangle = bool(rng.random() < 0.5)
    rows, columns = (_resampler(e, width=width, triangle=triangle) for e in (edges_y, edges_x))
    image = rows @ original @ columns.T
    if geometry == "pad":
        cover = rows.sum(axis=1)[:, None] * columns.sum(axis=1)
        image += (1 - np.clip(cover, 0, 1)) * _paint(rng)
    view = View(image.astype(np.float32), scene.only(inside), edges_x, edges_y)
    return _edited(view, edit, rng)


def _choose(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))


def _paint(rng: np.random.Generator) -> Any:
    """A colour to fill with: black, gray or any, shape (3, 1, 1)."""
    kind = rng.integers(3)
    color = np.zeros(3) if kind == 0 else np.full(3, rng.uniform(0.3, 0.6)) if kind == 1 else rng.uniform(0, 1, 3)
    return color.astype(np.float32)[:, None, None]


# --- geometry -----------------------------------------------------------------------------------------------------


def _edges(geometry: str, scene: Scene, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Source coordinates of the input's pixel edges along x and y."""
    if geometry == "identity":
        return _UNIFORM, _UNIFORM
    if geometry == "smooth":
        return _from_density(_smooth_density(rng)), _from_density(_smooth_density(rng))
    if geometry == "steep":
        x, y = _steep_densities(scene, rng)
        return _from_density(x), _from_density(y)
    if geometry == "crop":
        side = SIDE * np.exp(rng.uniform(np.log(0.15), np.log(0.85)))
        center = rng.uniform(0, SIDE, 2)
        if rng.random() < 0.6:  # keep a random object somewhere inside
            center = scene.centers_xy[rng.integers(len(scene))] + rng.uniform(-0.35, 0.35, 2) * side
        x0, y0 = np.clip(center - side / 2, 0, SIDE - side)
        return np.linspace(x0, x0 + side, INPUT + 1), np.linspace(y0, y0 + side, INPUT + 1)
    # pad: the picture sits somewhere inside a larger canvas
    border = rng.uniform(0, 0.6, 2) * SIDE * (rng.random(2) < 0.75)
    start = -rng.uniform(0, 1, 2) * border
    x, y = (np.linspace(s, s + SIDE + b, INPUT + 1) for s, b in zip(start, border, strict=True))
    return x, y


def _from_density(density: NDArray[Any]) -> Any:
    """Edges whose spacing is inversely proportional to a density over the source axis."""
    cdf = np.concatenate([[0], np.cumsum(density)])
    return np.interp(np.linspace(0, 1, INPUT + 1), cdf / cdf[-1], np.linspace(0, SIDE, len(cdf)))


def _smooth_density(rng: np.random.Generator) -> Any:
    knots = rng.normal(0, rng.uniform(0.2, 1.0), int(rng.integers(3, 8)))
    return np.exp(np.interp(np.linspace(0, 1, 96), np.linspace(0, 1, len(knots)), knots))


def _steep_densities(scene: Scene, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """A low floor and one to three plateaus or bumps, around objects or anywhere; densities along x and y."""
    cells = int(rng.choice([12, 16, 24, 96]))
    axis = (np.arange(cells) + 0.5) * SIDE / cells
    densities = np.full((2, cells), np.exp(rng.uniform(np.log(0.03), np.log(0.4))))
    ramp = SIDE / cells * rng.uniform(0.2, 1.5)
    for _ in range(int(rng.integers(1, 4))):
        center, half = rng.uniform(0, SIDE, 2), rng.uniform(0.03, 0.2, 2) * SIDE
        if rng.random() < 0.6:
            k = rng.integers(len(scene))
            center = scene.centers_xy[k] + rng.normal(0, 0.15, 2) * scene.diameters[k]
            half = (0.6 * scene.diameters[k] + rng.uniform(0, 0.08 * SIDE)) * np.ones(2)
        height = rng.uniform(0.4, 1.0)
        bump = height * np.clip(1 - (np.abs(axis - center[:, None]) - half[:, None]) / ramp, 0, 1)
        densities = np.maximum(densities, bump)
    upsampled = np.linspace(0, 1, 192)
    cell_centers = (np.arange(cells) + 0.5) / cells
    x, y = (np.interp(upsampled, cell_centers, density) for density in densities)
    return x, y


def _resampler(edges: NDArray[Any], *, width: float, triangle: bool) -> Any:
    """Matrix (INPUT, SIDE) that averages source pixels over each interval; all-zero rows lie outside the source.

    A box or a triangle of `width` intervals, at least one source pixel wide.
    """
    low, high = edges[:-1, None], edges[1:, None]
    middle, half = (low + high) / 2, np.maximum((high - low) * width, 1.0) / 2
    if triangle:
        weights = np.clip(1 - np.abs(_PIXELS + 0.5 - middle) / np.maximum(2 * half, 1.0), 0, None)
        weights = np.where((middle >= 0) & (middle <= SIDE), weights, 0)
    else:
        weights = np.clip(np.minimum(middle + half, _PIXELS + 1) - np.maximum(middle - half, _PIXELS), 0, None)
    total = weights.sum(axis=1, keepdims=True)
    return (weights / np.maximum(total, 1e-6)).astype(np.float32)


# --- edits in the plane of the input ------------------------------------------------------------------------------


def _edited(view: View, edit: str, rng: np.random.Generator) -> View | None:
    if edit == "none":
        return view
    if edit == "boxes":
        image = view.image
        for _ in range(int(rng.integers(1, 4))):
            frame = _frame(_some_box(view, rng, margin=(0.0, 6.0)), rng.uniform(0.5, 2.5))
            color = np.array([0.95, 0.05, 0.05]) if rng.random() < 0.4 else rng.uniform(0, 1, 3)
            image = image + (color.astype(np.float32)[:, None, None] - image) * frame
        return View(image, view.scene, view.edges_x, view.edges_y)
    shown = rng.random(len(view.scene)) < (0.85 if edit == "mask" else 0.6)
    if not shown.any():
        shown[rng.integers(len(shown))] = True
    keep = _soft_region(view, shown, rng)
    if edit == "mask":
        # hidden objects leave the labels; kept objects must be visible
        image = view.image * keep + _paint(rng) * (1 - keep)
        return View(image.astype(np.float32), view.scene.only(shown), view.edges_x, view.edges_y)
    blur = _blur(rng.uniform(0.5, 4.0))
    image = keep * view.image + (1 - keep) * (blur @ view.image @ blur)
    if rng.random() < 0.3:  # everywhere, lightly
        blur = _blur(rng.uniform(0.3, 0.9))
        image = blur @ view.image @ blur
    return View(image.astype(np.float32), view.scene, view.edges_x, view.edges_y)


def _some_box(view: View, rng: np.random.Generator, *, margin: tuple[float, float]) -> Any:
    """A box around one or two objects, or anywhere, in input pixels."""
    if rng.random() < 0.6:
        boxes = view.boxes()[rng.integers(len(view.scene), size=int(rng.integers(1, 3)))]
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        return np.concatenate([low - rng.uniform(*margin, 2), high + rng.uniform(*margin, 2)])
    corners = np.sort(rng.uniform(0, INPUT, (2, 2)), axis=0)
    return corners.ravel()


def _coverage(box: NDArray[Any]) -> Any:
    """How much of each input pixel a box covers, shape (INPUT, INPUT)."""
    at = np.arange(INPUT)
    x, y = (np.clip(np.minimum(box[2 + k], at + 1) - np.maximum(box[k], at), 0, 1) for k in (0, 1))
    return (y[:, None] * x).astype(np.float32)


def _frame(box: NDArray[Any], thickness: float) -> Any:
    inner = box + thickness * np.array([1, 1, -1, -1])
    return _coverage(box) - _coverage(inner)


def _soft_region(view: View, shown: NDArray[Any], rng: np.random.Generator) -> Any:
    """1 on the objects that stay, 0 on the others, something smooth or boxed elsewhere; (INPUT, INPUT)."""
    region = np.full((INPUT, INPUT), float(rng.random() < 0.3), np.float32)
    for _ in range(int(rng.integers(0, 3))):
        region = np.abs(region - _coverage(_some_box(view, rng, margin=(0.0, 8.0))))
    if rng.random() < 0.6:
        blur = _blur(rng.uniform(1.0, 6.0))
        region = blur @ region @ blur
    for box, seen in zip(view.boxes(), shown, strict=True):
        grow = rng.uniform(0.5, 3.0) if seen else 1.5
        patch = _coverage(box + grow * np.array([-1, -1, 1, 1])) > 0
        region[patch] = np.maximum(region[patch], rng.uniform(0.75, 1.0)) if seen else 0.0
    for box, seen in zip(view.boxes(), shown, strict=True):
        if seen:  # neighbours' holes do not cut into a visible object
            patch = _coverage(box) > 0
            region[patch] = np.maximum(region[patch], 0.75)
    return region


def _blur(sigma: float) -> Any:
    """Symmetric matrix (INPUT, INPUT) of a Gaussian blur with rows that sum to about 1."""
    at = np.arange(INPUT)
    kernel = np.exp(-0.5 * ((at[:, None] - at) / sigma) ** 2)
    scale = 1 / np.sqrt(kernel.sum(axis=1))
    return (kernel * scale[:, None] * scale).astype(np.float32)


# --- targets on the token grid ------------------------------------------------------------------------------------


def patch_overlap(view: View) -> Any:
    """Share of each object's visible box that lies in each patch, shape (n, TOKENS); rows of zeros where unseen."""
    boxes = view.boxes()
    at = PATCH * np.arange(GRID)
    x, y = (
        np.clip(np.minimum(boxes[:, 2 + k, None], at + PATCH) - np.maximum(boxes[:, k, None], at), 0, None)
        for k in (0, 1)
    )
    area = y[:, :, None] * x[:, None, :]  # (n, GRID, GRID)
    return area.reshape(len(boxes), TOKENS).astype(np.float32)


def targets(view: View) -> dict[str, NDArray[Any]]:
    """Per-patch labels and per-object masks for the vision losses and the attention losses.

    Returns
    -------
    dict
        `shape`, `color` int (TOKENS,), 0 = ground; `center` float (TOKENS,), 1 where an object's centre lies;
        `density` float (10, TOKENS), per shape then per colour: each object's unit mass, shared bilinearly among the
        patches around its centre; `masks` bool (n, TOKENS); `cores` bool (n, TOKENS), the patches with that mass;
        `xy` float (n, 2), centres in [0, 1].
    """
    scene, boxes, centers = view.scene, view.boxes(), view.centers()
    n = len(scene)
    area = patch_overlap(view)
    box_area = np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1e-3)
    seen = (boxes[:, 2] - boxes[:, 0] > 0.8) & (boxes[:, 3] - boxes[:, 1] > 0.8)
    cells = np.minimum(GRID - 1, (centers // PATCH).astype(int))
    own = cells[:, 1] * GRID + cells[:, 0]
    masks = area > np.minimum(0.25 * PATCH * PATCH, 0.45 * box_area)[:, None]
    masks[np.arange(n), own] |= seen
    # where two objects meet in a patch, the larger overlap names it
    best = np.argmax(area * masks, axis=0)
    taken = masks.any(axis=0)
    shape = np.where(taken, scene.shapes[best] + 1, 0)
    color = np.where(taken, scene.colors[best] + 1, 0)
    center = np.zeros(TOKENS, np.float32)
    center[own[seen]] = 1
    # bilinear weights of the centre among patch centres; patches beyond the border give theirs to the border
    at = centers / PATCH - 0.5
    x, y = (np.clip(1 - np.abs(np.clip(at[:, k, None], 0, GRID - 1) - np.arange(GRID)), 0, None) for k in (0, 1))
    cores = (y[:, :, None] * x[:, None, :]).reshape(n, TOKENS) * seen[:, None]
    density = np.zeros((10, TOKENS), np.float32)
    np.add.at(density, scene.shapes, cores)
    np.add.at(density, 5 + scene.colors, cores)
    return {
        "shape": shape.astype(np.int64),
        "color": color.astype(np.int64),
        "center": center,
        "density": np.clip(density, 0, 1),
        "masks": masks,
        "cores": (cores > 0.05) & seen[:, None],
        "xy": (centers / INPUT).astype(np.float32),
    }
