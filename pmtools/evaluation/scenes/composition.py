"""Random scenes: objects that do not touch, with the colours and shapes that a kind of question needs.

This file knows no question and no benchmark; all randomness comes from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pmtools import _checks
from pmtools.evaluation.scenes.drawing import COLORS, SHAPES, SIDE, Scene
from pmtools.typing import Ndarray

__all__ = ["compose_scene", "place_objects"]

_GAP = 8.0  # least distance between two objects' outlines, pixels


def compose_scene(
    rng: np.random.Generator, /, *, plan: str, diameters: tuple[float, float], repeats: int | None = None
) -> Scene:
    """Place objects and give them the attributes that a kind of question needs.

    Parameters
    ----------
    rng : numpy.random.Generator
    plan : str
        `"mixed"` (two to six objects; half of the scenes repeat shapes), `"unique_color"` or `"unique_shape"` (up to
        five objects, no colour or shape twice), `"repeat_color"` or `"repeat_shape"` (`repeats` objects share one,
        zero to three others have others).
    diameters : (low, high)
        In pixels.
    repeats : int, optional
        Default: drawn from 0 to 5, mostly 1 to 4.

    Returns
    -------
    Scene
        At least one object. The repeated attribute, if there is one, is that of object 0.
    """
    _checks.choice(plan, "plan", ("mixed", "unique_color", "unique_shape", "repeat_color", "repeat_shape"))
    if plan.startswith("repeat"):
        repeats = int(rng.choice(6, p=[0.06, 0.22, 0.22, 0.22, 0.22, 0.06])) if repeats is None else repeats
        count = max(2, repeats + int(rng.integers(0, 4)))
    else:
        count = int(rng.integers(2, 7 if plan == "mixed" else 6))
    while True:
        scene = place_objects(rng, count=count, diameters=diameters)
        if len(scene) == count or (len(scene) > 1 and not plan.startswith("repeat")):
            break
    n = len(scene)
    if plan == "mixed":
        if rng.random() < 0.5:
            chosen = np.where(rng.random(n) < 0.55, rng.integers(len(SHAPES)), scene.shapes)
        else:
            chosen = np.resize(rng.permutation(len(SHAPES)), n)
        return replace(scene, shapes=chosen)
    kind = "colors" if plan.endswith("color") else "shapes"
    order = rng.permutation(5)
    if plan.startswith("unique"):
        return replace(scene, **{kind: order[:n]})
    others = rng.choice(order[1:], n)
    values = np.where(np.arange(n) < (repeats or 0), order[0], others)
    return replace(scene, **{kind: values})


def place_objects(
    rng: np.random.Generator, /, *, count: int, diameters: tuple[float, float], spread: float = 0.25
) -> Scene:
    """Place up to `count` objects that do not touch; shapes and colours are independent and uniform.

    Parameters
    ----------
    rng : numpy.random.Generator
    count : int
        Number of objects; fewer are returned when the canvas is full.
    diameters : (low, high)
        Range in pixels. The scene draws one typical size log-uniformly and each object varies around it.
    spread : float, optional
        Half the width of that variation, in units of the logarithm.

    Returns
    -------
    Scene
    """
    low, high = diameters
    typical = np.exp(rng.uniform(np.log(low), np.log(high)))
    sizes = np.clip(typical * np.exp(rng.uniform(-spread, spread, count)), low, high)
    centers: list[Ndarray] = []
    kept: list[float] = []
    for size in sizes:
        margin = 0.75 * size + 3
        for _ in range(30):
            center = rng.uniform(margin, SIDE - margin, 2)
            if all(np.hypot(*(center - c)) > 0.78 * (size + s) + _GAP for c, s in zip(centers, kept, strict=True)):
                centers.append(center)
                kept.append(float(size))
                break
    n = len(kept)
    return Scene(
        shapes=rng.integers(0, len(SHAPES), n),
        colors=rng.integers(0, len(COLORS), n),
        centers_xy=np.array(centers).reshape(n, 2),
        diameters=np.array(kept),
        angles=rng.uniform(-0.26, 0.26, n),
    )
