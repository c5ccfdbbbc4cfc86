"""How a heatmap becomes a warp: the settings, their defaults and their ranges, for every layer."""

from __future__ import annotations

from dataclasses import dataclass

from pmtools import _checks

#: How a map is reduced along the other axis.
MARGINALS = ("max", "sum")
#: Length of the fall beside a zoomed span, in lengths of the span.
ZOOM_FALLOFF = 0.5


@dataclass(frozen=True, kw_only=True)
class WarpSettings:
    """How a heatmap becomes a warp.

    Attributes
    ----------
    gain : float
        Contrast of the perception map, >= 0. The paper uses 10 (its POPE script 15); 0 gives a plain resize.
    kernel_size : int
        Side of the smoothing window in cells of the heatmap, odd. 1 leaves the map as it is.
    marginal : {"max", "sum"}
        How the map is reduced to each axis.
    floor : float
        Share of uniform mass, in (0, 1]: at equal sizes no part shrinks more than `1 / floor` times per axis. The default was
        chosen by measurement, see docs/log.md.
    max_magnification : float or None
        Greatest magnification per axis relative to a plain resize, >= 1. None: no limit.
    equal_peaks : bool
        Hold the greatest magnifications of x and y equal, relative to a plain resize, by a cap on the axis that has the
        greater one: the peak keeps its shape.

    Raises
    ------
    TypeError, ValueError
        If one is out of range; the message names it.
    """

    gain: float = 10.0
    kernel_size: int = 3
    marginal: str = "max"
    floor: float = 0.02
    max_magnification: float | None = None
    equal_peaks: bool = False

    def __post_init__(self) -> None:
        checked = {
            "gain": _checks.real_number(self.gain, "gain", minimum=0.0),
            "kernel_size": _checks.odd_number(self.kernel_size, "kernel_size"),
            "floor": _checks.real_number(
                self.floor, "floor", minimum=0.0, maximum=1.0, exclusive_minimum=True,
                hint="at 0 the warp could not be undone",
            ),
            "equal_peaks": _checks.flag(self.equal_peaks, "equal_peaks"),
        }  # fmt: skip
        _checks.choice(self.marginal, "marginal", MARGINALS)
        if self.max_magnification is not None:
            checked["max_magnification"] = _checks.real_number(self.max_magnification, "max_magnification", minimum=1.0)
        for name, value in checked.items():
            object.__setattr__(self, name, value)


DEFAULTS = WarpSettings()
"""What holds where nothing is said; functions take their own defaults from here."""
