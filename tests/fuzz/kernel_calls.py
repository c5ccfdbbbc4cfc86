"""Calls of the compiled kernel's own functions with arguments that pmtools would never pass: `fuzz_kernel.py` makes them.

`WRONG` has, for each argument, values that must be refused. `soup` puts anything anywhere: whatever comes back, an answer or
an exception, memory that is not the kernel's must not be touched; the sanitizers see to that.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import datetime

import numpy as np
from numpy.lib.stride_tricks import as_strided

#: What a refusal may be.
REFUSALS = (TypeError, ValueError, OverflowError, BufferError, MemoryError)
FORMATS = {"B": np.uint8, "H": np.uint16, "f": np.float32}
HUGE = [2**31 - 1, 2**31, 2**62, 2**63 - 1, 2**63, 2**64, 10**40, -1, -(2**31), -(2**63), -(2**63) - 1]


def frozen(values):
    values.flags.writeable = False
    return values


def unaligned(values):
    """A copy that begins one byte beyond where its numbers should."""
    memory = np.zeros(values.nbytes + 1, np.uint8)
    view = memory[1:].view(values.dtype).reshape(values.shape)
    view[...] = values
    return view


def endless(dtype, *shape):
    """One number that says it is many, writable."""
    return as_strided(np.zeros(1, dtype), shape, (0,) * len(shape))


def right(rng):
    """Arguments of the three functions that they take, by name."""
    name = str(rng.choice(list(FORMATS)))
    h, w, height, width = (int(rng.integers(1, 40)) for _ in range(4))
    n, channels = int(rng.integers(1, 3)), int(rng.choice([1, 2, 3, 4, 5, 17]))

    def axis(length, size):
        edges = np.linspace(0, size, length + 1)
        where = {"centre": (edges[1:] + edges[:-1]) / 2, "low": edges[:-1].copy(), "high": edges[1:].copy()}
        kernel = int(rng.integers(0, 4))
        return {"kernel": kernel, **where, "first": 0, "last": size - 1, "size": size, "format": name}

    rows = {"across": False, **axis(h, height), "channels": 1, "portable": bool(rng.integers(2))}
    columns = {"across": True, **axis(w, width), "channels": channels, "portable": rows["portable"]}
    pixels = rng.uniform(0, 200, (n, height, width, channels)).astype(FORMATS[name])
    out = np.zeros((n, h, w, channels), FORMATS[name])
    limits = np.tile(np.float32([0, 200]), (n, 1)) if rng.random() < 0.5 else None
    images = {"pixels": pixels, "out": out, "plans": None, "limits": limits, "portable": rows["portable"]}
    knots = np.cumsum(rng.uniform(0.1, 1, int(rng.integers(2, 60))))
    x = rng.uniform(-1, knots[-1] + 1, int(rng.integers(0, 600)))
    places = {"x": x, "out": np.zeros_like(x), "knots_x": knots, "knots_y": knots**2}
    return rows, columns, images, places


def call(extension, rows, columns, images):
    """Both plans and what is made with them."""
    plans = tuple(extension.plan(*axis.values()) for axis in (rows, columns))
    arguments = dict(images)
    if isinstance(arguments["plans"], Wrong):
        plans = arguments["plans"].value(*plans)
    arguments["plans"] = plans
    extension.resample(*arguments.values())


class Wrong:
    """What makes wrong plans of right ones."""

    def __init__(self, value):
        self.value = value


def other_format(name):
    return "H" if name == "B" else "B"


#: For each argument, functions of the right value (and of `rng`) to a wrong one.
NUMBERS = [
    lambda v: None,
    lambda v: 0,
    lambda v: "text",
    lambda v: v.tolist(),
    lambda v: v.tobytes(),
    lambda v: v[:-1] if len(v) > 1 else np.zeros(7),
    lambda v: np.append(v, v),
    lambda v: v.astype(np.float32),
    lambda v: v.astype(np.int64),
    lambda v: v.astype(object),
    lambda v: v.astype(complex),
    lambda v: v.astype(v.dtype.newbyteorder()),
    lambda v: np.stack([v, v], axis=-1)[:, 0] if len(v) > 1 else None,
    lambda v: v[::-1] if len(v) > 1 else None,
    lambda v: np.broadcast_to(v[:1], (max(len(v), 2),)),
    unaligned,
    lambda v: endless(np.float64, 2**40),
    lambda v: v.view(np.uint64),
    lambda v: array.array("f", v.tolist()),
]
COORDINATES = [*NUMBERS, lambda v: np.full_like(v, np.nan), lambda v: np.where(v == v[-1], np.inf, v)]
INTEGERS = [
    *(lambda v, huge=huge: huge for huge in HUGE),
    lambda v: None,
    lambda v: 1.5,
    lambda v: "1",
    lambda v: v + 0.0,
]
PIXELS = [
    lambda v: None,
    lambda v: v.tolist(),
    lambda v: v.tobytes(),
    lambda v: v[0],
    lambda v: v[None],
    lambda v: v[:0],
    lambda v: v[:, :0],
    lambda v: v[:, :, :0],
    lambda v: v[..., :0],
    lambda v: np.concatenate([v, v], axis=1),
    lambda v: np.concatenate([v, v], axis=2),
    lambda v: np.concatenate([v, v], axis=3),
    lambda v: v.astype(np.float64),
    lambda v: v.astype(np.int16),
    lambda v: v.astype(object),
    lambda v: v.astype(bool),
    lambda v: v.view(f"V{v.itemsize}"),
    lambda v: v.astype(v.dtype.newbyteorder()) if v.itemsize > 1 else v.astype(">u2"),
    lambda v: endless(v.dtype, 2**30, 2**30, 1, 1),
    lambda v: endless(v.dtype, *v.shape[:2], 2**50, v.shape[3]),
    lambda v: np.zeros((0, 1, 1, 2**62 // v.itemsize), v.dtype),
    lambda v: memoryview(v.tobytes()),
    lambda v: (ctypes.c_double * 4)(),
]
OUT = [
    *PIXELS,
    lambda v: frozen(v.copy()),
    lambda v: np.broadcast_to(v, v.shape),
    lambda v: np.repeat(v, 2, axis=2)[:, :, ::2] if v.shape[2] > 1 else None,
    lambda v: v[:, :, ::-1] if v.shape[2] > 1 else None,
    lambda v: endless(v.dtype, *v.shape) if v.shape[2] > 1 else None,
    lambda v: unaligned(v) if v.itemsize > 1 else None,
]
PLANS = [
    lambda v: Wrong(lambda rows, columns: (columns, rows)),
    lambda v: Wrong(lambda rows, columns: (rows, rows)),
    lambda v: Wrong(lambda rows, columns: (rows,)),
    lambda v: Wrong(lambda rows, columns: ()),
    lambda v: Wrong(lambda rows, columns: (rows, columns) * 3),
    lambda v: Wrong(lambda rows, columns: [rows, columns]),
    lambda v: Wrong(lambda rows, columns: None),
    lambda v: Wrong(lambda rows, columns: (rows, None)),
    lambda v: Wrong(lambda rows, columns: (rows, datetime.datetime_CAPI)),
]
LIMITS = [
    lambda v: 0,
    lambda v: np.zeros(1, np.float32),
    lambda v: np.zeros(999, np.float32),
    lambda v: np.zeros((1, 2)),
]
PLACES = [
    lambda v: None,
    lambda v: 1.0,
    lambda v: v.tolist(),
    lambda v: v.tobytes(),
    lambda v: v[:, None],
    lambda v: np.append(v, 1.0),
    lambda v: v.astype(np.float32),
    lambda v: v.astype(object),
    lambda v: v.astype(v.dtype.newbyteorder()),
    lambda v: v.view(np.int64),
    lambda v: endless(np.float64, 2**40),
    lambda v: unaligned(np.append(v, 1.0))[:-1] if len(v) else None,
    lambda v: as_strided(np.zeros(2 * len(v) + 2), (len(v),), (12,)) if len(v) > 1 else None,
]
KNOTS = [*NUMBERS, lambda v: v[:1], lambda v: v[:0]]
WRONG = {
    "kernel": [*INTEGERS, lambda v: 4],
    "centre": COORDINATES,
    "low": COORDINATES,
    "high": COORDINATES,
    "first": INTEGERS,
    "last": INTEGERS,
    "size": [*INTEGERS, lambda v: 0, lambda v: 2**28],
    "format": [*(lambda v, f=f: f for f in ("", "d", "BB", "b", ">H", "<f", "é", "B\0", 0, None, b"B")), other_format],
    "channels": [*INTEGERS, lambda v: 0, lambda v: v + 1],
    "pixels": PIXELS,
    "out": OUT,
    "plans": PLANS,
    "limits": LIMITS,
    "x": PLACES,
    "places out": [*PLACES, lambda v: frozen(v.copy())],
    "knots_x": KNOTS,
    "knots_y": KNOTS,
}


def spoilt(rng, argument, arguments):
    """`arguments` (four dictionaries) with one wrong value of `argument`, and what was done."""
    rows, columns, images, places = (dict(one) for one in arguments)
    which = int(rng.integers(len(WRONG[argument])))
    make = WRONG[argument][which]
    if argument == "places out":
        places["out"] = make(places["out"])
    else:
        target = next(one for one in (rows, images, places) if argument in one)
        if argument == "channels" or (target is rows and rng.random() < 0.5):
            target = columns
        target[argument] = make(target[argument])
    return rows, columns, images, places, f"{argument}, wrong value {which}"


def refused(extension, seed):
    """One wrong argument: it must be refused."""
    rng = np.random.default_rng(seed)
    argument = list(WRONG)[seed % len(WRONG)]
    arguments = right(rng)
    *_, images, places = arguments
    call(extension, *arguments[:3])
    extension.interpolate(*places.values())
    rows, columns, images, places, said = spoilt(rng, argument, arguments)
    try:
        if argument in ("x", "places out", "knots_x", "knots_y"):
            extension.interpolate(*places.values())
        else:
            call(extension, rows, columns, images)
    except REFUSALS:
        return
    raise SystemExit(f"seed {seed}: taken: {said}")


def soup(extension, seed):
    """Several arguments from anywhere, too few, or too many."""
    rng = np.random.default_rng(seed)
    arguments = right(rng)
    pool = [one[name] for one in arguments for name in one] + HUGE + [None, "", b"", (), np.nan, np.zeros(0), object()]
    for function in (extension.plan, extension.resample, extension.interpolate, extension.has_avx2):
        given = [pool[int(i)] for i in rng.integers(len(pool), size=int(rng.integers(0, 13)))]
        with contextlib.suppress(*REFUSALS):
            function(*given)
    for name in rng.choice(list(WRONG), 3, replace=False):
        arguments = spoilt(rng, str(name), arguments)[:4]
    sides = rng.permutation([int(rng.choice([0, 1, 2**60, 2**61, 2**62])), 1, 1]).tolist()
    nothing = np.zeros((0, *sides), np.uint8)
    for function in (
        lambda: call(extension, *arguments[:3]),
        lambda: extension.interpolate(*arguments[3].values()),
        lambda: extension.resample(nothing, nothing, (), None, bool(rng.integers(2))),
    ):
        with contextlib.suppress(*REFUSALS):
            function()
