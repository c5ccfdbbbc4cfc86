"""Synthetic scenes: coloured shapes on a textured ground, drawn from exact geometry.

This file knows scenes and how to draw them, not how they are composed (`composition`), nor questions or models.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from pmtools.typing import Ndarray

__all__ = ["COLORS", "SHAPES", "SIDE", "Scene", "draw_scene"]

SIDE = 384
"""Side of a scene in pixels: four times the input of the demo model."""

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLORS = ("red", "green", "blue", "yellow", "purple")
_RGB = np.array(
    [[0.86, 0.14, 0.14], [0.10, 0.66, 0.20], [0.16, 0.28, 0.90], [0.92, 0.84, 0.12], [0.62, 0.16, 0.74]], np.float32
)

_BANK = 1024  # side of the texture bank, pixels
# Every shape covers the area of a disc of diameter 1, so that no shape is recognised by its size.
_SQUARE = np.sqrt(np.pi) / 4  # half a side
_TRIANGLE = np.sqrt(np.pi / (12 * np.sqrt(3)))  # inner radius: area = 3 sqrt(3) r^2
_STAR_RATIO = 0.45  # inner over outer radius of the star
_STAR = np.sqrt(np.pi / (20 * _STAR_RATIO * np.sin(np.pi / 5)))  # outer radius: area = 5 ratio R^2 sin(pi / 5)
_CROSS_ARM = np.sqrt(np.pi / 80)  # half the width of a bar whose length is three widths: area = 5 (2 w)^2


@dataclass(frozen=True)
class Scene:
    """Objects on a square canvas of `SIDE` pixels.

    Convention: continuous `(x, y)`, pixel `i` covers `[i, i + 1)`.

    Attributes
    ----------
    shapes, colors : int array of shape (n,)
        Indices into `SHAPES` and `COLORS`.
    centers_xy : float array of shape (n, 2)
        In pixels.
    diameters : float array of shape (n,)
        Of the disc that has the object's area, in pixels.
    angles : float array of shape (n,)
        Rotation in radians, clockwise on the screen.
    """

    shapes: Ndarray
    colors: Ndarray
    centers_xy: Ndarray
    diameters: Ndarray
    angles: Ndarray

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def boxes_xyxy(self) -> Ndarray:
        """Tight boxes `(x0, y0, x1, y1)` of the objects, shape (n, 4), in pixels."""
        reach = np.array([_reach(*values) for values in zip(self.shapes, self.diameters, self.angles, strict=True)])
        reach = reach.reshape(-1, 4)
        boxes: Ndarray = np.tile(self.centers_xy, (1, 2)) + reach
        return boxes

    def only(self, kept: Ndarray) -> Scene:
        """The scene with the objects that `kept` (bool, or indices) selects."""
        fields = (self.shapes, self.colors, self.centers_xy, self.diameters, self.angles)
        return Scene(*(field[kept] for field in fields))


def draw_scene(scene: Scene, rng: np.random.Generator, /) -> Ndarray:
    """Draw a scene: float32 of shape (3, SIDE, SIDE), in [0, 1].

    The ground is gray noise of four scales; objects have noise, a slight change of hue and anti-aliased edges.
    """
    grain, clouds = _textures()
    image: Ndarray = _patch(grain, rng) + _patch(clouds, rng)
    image += (rng.uniform(0.3, 0.62) + rng.uniform(-0.06, 0.06, 3)).astype(np.float32)[:, None, None]
    for shape, color, center, diameter, angle in zip(
        scene.shapes, scene.colors, scene.centers_xy, scene.diameters, scene.angles, strict=True
    ):
        reach = int(np.ceil(0.85 * diameter)) + 2
        (x0, y0), (x1, y1) = np.maximum(0, center.astype(int) - reach), np.minimum(SIDE, center.astype(int) + reach + 1)
        dx = np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - center[0])
        dy = np.arange(y0, y1, dtype=np.float32) + np.float32(0.5 - center[1])
        cover = np.clip(0.5 - _distance(shape, float(diameter), float(angle), dx[None, :], dy[:, None]), 0, 1)
        tint = (_RGB[color] + rng.uniform(-0.08, 0.08, 3)).astype(np.float32)[:, None, None]
        at_y, at_x = rng.integers(0, _BANK - 2 * reach - 2, 2)
        paint = tint + grain[:, at_y : at_y + y1 - y0, at_x : at_x + x1 - x0]
        region = image[:, y0:y1, x0:x1]
        region += (paint - region) * cover.astype(np.float32)
    np.clip(image, 0, 1, out=image)
    return image


@cache
def _textures() -> tuple[Ndarray, Ndarray]:
    """Grain (1, 4 and 16 px) and clouds (96 px), each (3, _BANK, _BANK); the same for every scene and seed."""
    rng = np.random.default_rng(20261122)

    def noise(scale: int) -> Any:
        coarse = rng.standard_normal((3, _BANK // scale + 2, _BANK // scale + 2)).astype(np.float32)
        if scale == 1:
            return coarse[:, :_BANK, :_BANK]
        at = np.arange(_BANK) / scale
        index, part = at.astype(int), (at % 1).astype(np.float32)
        coarse = coarse[:, index] * (1 - part)[:, None] + coarse[:, index + 1] * part[:, None]
        coarse = coarse[:, :, index] * (1 - part) + coarse[:, :, index + 1] * part
        return coarse / coarse.std()

    def gray(field: Ndarray) -> Any:
        return np.float32(1.36) * field.mean(axis=0, keepdims=True) + np.float32(0.35) * field

    grain = 0.045 * gray(noise(1)) + 0.05 * gray(noise(4)) + 0.04 * gray(noise(16))
    return grain.astype(np.float32), (0.05 * noise(96)).astype(np.float32)


def _patch(texture: Ndarray, rng: np.random.Generator) -> Any:
    """A random window of a texture, mirrored at random, its channels in random order."""
    y, x = rng.integers(0, _BANK - SIDE, 2)
    window = texture[rng.permutation(3), y : y + SIDE, x : x + SIDE]
    return window[:, :: 1 - 2 * int(rng.integers(2)), :: 1 - 2 * int(rng.integers(2))]


def _distance(shape: int, diameter: float, angle: float, dx: Ndarray, dy: Ndarray) -> Any:
    """Signed distance to the outline (negative inside; exact at edges, a bound at corners), for offsets from the centre."""
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = cos * dx + sin * dy, cos * dy - sin * dx
    name = SHAPES[shape]
    if name == "circle":
        return np.sqrt(x * x + y * y) - 0.5 * diameter
    if name == "square":
        return np.maximum(np.abs(x), np.abs(y)) - _SQUARE * diameter
    if name == "triangle":
        slope = np.float32(np.sqrt(0.75)) * np.abs(x)
        return np.maximum(y, slope - 0.5 * y) - _TRIANGLE * diameter
    if name == "star":
        # fold the plane onto half a spike, where the outline is one straight edge from the tip to the notch
        outer, half = _STAR * diameter, np.pi / 5
        phi = np.abs((np.arctan2(x, -y) + half) % (2 * half) - half)
        edge = np.array([_STAR_RATIO * outer * np.cos(half) - outer, _STAR_RATIO * outer * np.sin(half)])
        normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
        radius = np.sqrt(x * x + y * y)
        return (radius * np.cos(phi) - outer) * normal[0] + radius * np.sin(phi) * normal[1]
    x, y, width = np.abs(x), np.abs(y), _CROSS_ARM * diameter
    return np.minimum(np.maximum(x - 3 * width, y - width), np.maximum(x - width, y - 3 * width))


def _corners(shape: int) -> Any:
    """Corners of the unit-diameter outline at angle 0, shape (k, 2) as (x, y)."""
    name = SHAPES[shape]
    if name == "square":
        return _SQUARE * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    if name == "triangle":
        turn = np.pi / 2 + np.arange(3) * 2 * np.pi / 3  # flat side below: y grows downwards
        return -2 * _TRIANGLE * np.stack([np.cos(turn), np.sin(turn)], -1)
    if name == "star":
        turn = np.arange(5) * 2 * np.pi / 5
        return _STAR * np.stack([np.sin(turn), -np.cos(turn)], -1)
    arm = _CROSS_ARM
    return np.array([[sx * a, sy * b] for a, b in ((arm, 3 * arm), (3 * arm, arm)) for sx in (-1, 1) for sy in (-1, 1)])


def _reach(shape: int, diameter: float, angle: float) -> tuple[float, float, float, float]:
    """How far an object reaches from its centre: (left, up, right, down), left and up negative."""
    if SHAPES[shape] == "circle":
        r = diameter / 2
        return -r, -r, r, r
    x, y = _corners(shape).T * diameter
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = cos * x - sin * y, sin * x + cos * y
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())
