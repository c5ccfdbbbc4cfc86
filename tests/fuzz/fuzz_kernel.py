"""Random images and maps through the compiled kernel, built with AddressSanitizer and UBSan, then ThreadSanitizer: `make fuzz`.

Usage: `python tests/fuzz/fuzz_kernel.py [seconds] [first seed]`; a fifth of the seconds is for threads alone. Needs gcc or clang
with their sanitizers; where they are missing it says so and does nothing. Every seed is one case of one of the kinds in KINDS,
and the closing line counts them:

- random shapes down to one pixel, strides (flipped, transposed, cut, every other pixel, unaligned, rows a page apart, zero),
  dtypes, kernels and maps with windows; axes of tens of thousands of pixels; places through knots: the results of the NumPy path;
- coordinates that no map would give: the kernel may refuse them or return anything, but not touch memory that is not its own;
- wrong arguments of the extension's own functions (kernel_calls.py), which must be refused;
- several threads with the same and with different plans, and a thread that writes into what others read.

tests/test_kernel.py draws its cases from here.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
import types
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from pmtools import _kernel, _resample_numpy
from pmtools.axes import AxisMap, axis_map
from pmtools.footprints import Footprints, footprints
from pmtools.interpolation import interpolate
from pmtools.marginals import upsampled_marginal

ROOT = Path(__file__).resolve().parents[2]
SPREAD = {"uint8": 255, "uint16": 65535, "float32": 1.0}
CLOSE = {"uint8": 1, "uint16": 1, "float32": 1e-6}
SIDES = [1, 2, 3, 5, 8, 13, 30, 47, 64, 90]
LONG = [10_000, 16_385, 20_000, 32_768, 65_537]
SANITIZERS = {"address,undefined,float-cast-overflow": "libasan.so", "thread": "libtsan.so"}
LAYOUTS = ["plain", "planar", "flipped", "bgr", "steps", "transposed", "cut", "unaligned", "pages", "repeated"]


def exact(values):
    """The same array in memory of exactly its size, which a sanitizer watches (NumPy rounds small sizes up)."""
    return np.frombuffer(bytearray(values.tobytes()), values.dtype).reshape(values.shape)


def random_axis(rng, source, target):
    """Footprints of a random increasing map, some of them with a window or hanging over the edges."""
    cells = int(rng.integers(1, 12))
    edges = np.concatenate([[0.0], np.cumsum(rng.uniform(rng.choice([0.01, 0.2, 1.0]), 1.0, cells))])
    edges *= target / edges[-1]
    before = np.linspace(0, source, cells + 1)
    if rng.random() < 0.3:
        before += rng.uniform(-0.2, 0.2) * source
    axis = axis_map(before, edges, source, target)
    if rng.random() < 0.3:
        axis = AxisMap(axis.pieces, source, target, np.sort(rng.uniform(0, source, 2)))
    return footprints(axis)[0]


def random_view(rng, shape, dtype):
    """Pixels of this shape (n, H, W, C) in one of the layouts an array can have."""
    n, height, width, channels = shape
    layout = rng.choice(LAYOUTS if height < min(LONG) else [name for name in LAYOUTS if name != "pages"])

    def fill(*sizes):
        values = rng.uniform(0, SPREAD[dtype], sizes)
        return exact((np.rint(values) if dtype != "float32" else values).astype(dtype))

    if layout == "planar":
        return fill(n, channels, height, width).transpose(0, 2, 3, 1)
    if layout == "flipped":
        return fill(*shape)[:, ::-1, ::-1]
    if layout == "bgr":
        return fill(*shape)[..., ::-1]
    if layout == "steps":
        return fill(2 * n, 3 * height, 2 * width, 2 * channels)[::2, ::3, ::2, 1::2]
    if layout == "transposed":
        return fill(width, height, n, channels).transpose(2, 1, 0, 3)
    if layout == "cut":
        return fill(n, height + 2, width + 3, channels + 1)[:, 1:-1, 2:-1, :channels]
    if layout == "pages":  # rows 4096 bytes apart
        across = max(4096 // np.dtype(dtype).itemsize, width * channels)
        return fill(n, height, across)[..., : width * channels].reshape(shape)
    if layout == "repeated":  # strides of zero along some axes
        return np.broadcast_to(fill(*(int(rng.choice([1, side])) for side in shape)), shape)
    if layout == "unaligned":
        memory = exact(np.zeros(np.prod(shape) * np.dtype(dtype).itemsize + 1, np.uint8))
        view = memory[1:].view(dtype).reshape(shape)
        view[...] = fill(*shape)
        return view
    return fill(*shape)


def random_case(seed, *, long=False):
    """A random image, random footprints, random kernels: the arguments of a back end. `long`: the source, the result or both
    are long one way and narrow the other."""
    rng = np.random.default_rng(seed)
    dtype = str(rng.choice(list(SPREAD)))
    height, width, h, w = (int(rng.choice(SIDES)) for _ in range(4))
    if long:
        across = [(int(rng.choice(SIDES[:3])), int(rng.choice(SIDES[:3])))]
        along = [
            (int(rng.choice(LONG)), int(rng.choice([*SIDES, *LONG]))),
            (int(rng.choice(SIDES)), int(rng.choice(LONG))),
        ]
        sides = [across[0], along[int(rng.integers(2))]]
        (height, h), (width, w) = sides if rng.random() < 0.5 else sides[::-1]
    n, channels = int(rng.integers(1, 3)), int(rng.choice([1, 2, 3, 3, 4, 5, 17]))
    shape = (1, height, width, min(channels, 5)) if long else (n, height, width, channels)
    pixels = random_view(rng, shape, dtype)
    kernels = tuple(str(k) for k in rng.choice(["gather", "linear", "box", "cubic"], 2))
    limits = None
    if dtype == "float32" and rng.random() < 0.7:
        limits = tuple(f(pixels, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    return pixels, random_axis(rng, height, h), random_axis(rng, width, w), kernels, limits


@contextlib.contextmanager
def numpy_only():
    """The NumPy path behind the doors that look for the kernel."""
    extension, _kernel._extension = _kernel._extension, None
    try:
        yield
    finally:
        _kernel._extension = extension


def largest_difference(a, b):
    return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0))


def compare(seed, case, result, expected):
    """`result` must be `expected`; sums of n numbers of the size of 1 in float32 are off by n of its last bits at most."""
    rows, columns, kernels = case[1:4]
    taps = max(
        1.0,
        *(_kernel._TAPS.get(kernel, 0) * axis.widest for axis, kernel in zip((rows, columns), kernels, strict=True)),
    )
    allowed = max(CLOSE[str(expected.dtype)], taps * 2**-24 if expected.dtype == np.float32 else 0)
    difference = largest_difference(result, expected)
    if difference > allowed:
        raise SystemExit(f"seed {seed}: {expected.dtype} {case[0].shape} {kernels}: off by {difference:g}")


def check(seed, *, long=False):
    """One case: both variants of the kernel against the NumPy path; the two the same for bytes."""
    case = random_case(seed, long=long)
    results = [_kernel.resample(*case, portable=portable) for portable in (False, True)]
    if _kernel.sums_well(*case[1:4]):  # others are not left to it
        expected = _resample_numpy.resample(*case)
        for result in results:
            compare(seed, case, result, expected)
    if results[0].dtype == np.uint8 and not np.array_equal(*results):
        raise SystemExit(f"seed {seed}: the two variants differ")


def check_hostile(seed):
    """Coordinates that no increasing map gives."""
    pixels, rows, columns, kernels, limits = random_case(seed)
    rng = np.random.default_rng(seed)

    def spoil(axis):
        scale = float(rng.choice([1.0, 30.0, 1e9, 1e300]))
        centre, low, high = (rng.normal(size=len(axis)) * scale for _ in range(3))
        return Footprints(centre, low, high, axis.outside, axis.first, axis.last, axis.size)

    for portable in (False, True):
        try:
            _kernel.resample(pixels, spoil(rows), spoil(columns), kernels, limits, portable=portable)
        except ValueError as error:
            if "average" not in str(error):
                raise


def random_map(seed):
    """A map in one of the layouts of memory, and how many cells its marginal is to have."""
    rng = np.random.default_rng(seed)
    values = rng.random(rng.choice(SIDES, 2)) * 10.0 ** rng.integers(-300, 300)
    values[rng.random(values.shape) < rng.choice([0.0, 0.9])] = 0.0
    layouts = [exact(values), exact(values.T).T, exact(values)[::-1, ::-1], exact(np.repeat(values, 2, axis=1))[:, ::2]]
    return layouts[seed % 4], int(rng.choice([*SIDES, 336, 1000])), int(rng.choice([-2, -1]))


def check_marginal(seed):
    """The marginal of an upsampled map: the bits of the NumPy path."""
    values, size, axis = random_map(seed)
    with numpy_only():
        expected = upsampled_marginal(values, size, axis=axis)
    if upsampled_marginal(values, size, axis=axis).tobytes() != expected.tobytes():
        raise SystemExit(f"seed {seed}: the marginal of {values.shape} along {axis} to {size} cells differs")


def check_hostile_map(seed):
    """Cells that are no numbers, and marginals shorter than the map."""
    values, size, _ = random_map(seed)
    rng = np.random.default_rng(seed)
    values[rng.random(values.shape) < 0.3] = rng.choice([np.nan, np.inf, -1e300])
    _kernel.upsampled_greatest(values, size)


def random_places(seed):
    """Increasing knots and places among them, on them, at the ends, beyond, some of them no numbers."""
    rng = np.random.default_rng(seed)
    knots = [np.cumsum(rng.uniform(rng.choice([1e-9, 0.02, 1.0]), 1.0, int(rng.integers(2, 400)))) for _ in "xy"]
    knots = [exact(axis[: min(map(len, knots))] + rng.normal() * 50) for axis in knots]
    x = rng.uniform(
        knots[0][0], knots[0][-1], int(rng.choice([0, 1, 3, 50, 2000, 40_000], p=[0.2, 0.2, 0.2, 0.19, 0.2, 0.01]))
    )
    for values in (knots[0][[0, -1]], knots[0], knots[0][-1] + [5.0, 1e300, np.inf], [np.nan, -np.inf, -1e300]):
        if rng.random() < 0.4:
            x[rng.random(len(x)) < 0.2] = rng.choice(values)
    if len(x) and rng.random() < 0.1:
        return (np.broadcast_to(x[:1], len(x)), *knots)
    return (exact(np.stack([x, x], axis=-1))[:, 0], *knots)


def check_places(seed):
    """The map of coordinates: the bits of the NumPy path, in memory of its own or in place."""
    x, *knots = random_places(seed)
    with numpy_only(), np.errstate(all="ignore"):
        expected = interpolate(x, *knots)
    out = exact(np.zeros(2 * len(x)))[::2]
    for to in (out, x) if x.flags.writeable else (out,):
        _kernel.interpolate(x, *knots, to)
        if to.tobytes() != expected.tobytes() and not np.array_equal(to, expected, equal_nan=True):
            raise SystemExit(f"seed {seed}: {len(x)} places through {len(knots[0])} knots differ")


def check_hostile_places(seed):
    """Knots that do not increase, or are no numbers."""
    x, *knots = random_places(seed)
    rng = np.random.default_rng(seed)
    for axis in knots:
        axis[rng.random(len(axis)) < 0.3] = rng.choice([np.nan, np.inf, 0.0, -1e300])
    _kernel.interpolate(x, *knots, exact(np.zeros(len(x))))


def check_threads(seed, *, threads=4, rounds=2):
    """Some cases, each in several threads at once with plans of its own or plans in common, give what one thread gives."""
    rng = np.random.default_rng(seed)
    cases = [(int(s), random_case(int(s), long=rng.random() < 0.1)) for s in rng.integers(2**31, size=2)]
    cases = [(s, case, _resample_numpy.resample(*case)) for s, case in cases if _kernel.sums_well(*case[1:4])]
    places = [random_places(int(s)) for s in rng.integers(2**31, size=2)]
    mapped = [np.empty(len(x)) for x, *_ in places]
    for one, out in zip(places, mapped, strict=True):
        _kernel.interpolate(*one, out)
    start = threading.Barrier(threads, timeout=60)

    def work(thread):
        start.wait()
        for _ in range(rounds):
            for s, case, expected in cases[::-1] if thread % 2 else cases:
                compare(s, case, _kernel.resample(*case, portable=thread % 4 == 3), expected)
            for one, once in zip(places, mapped, strict=True):
                again = np.empty(len(once))
                _kernel.interpolate(*one, again)
                if again.tobytes() != once.tobytes():
                    raise SystemExit(f"seed {seed}: places differ from thread to thread")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


def check_race(seed, extension=None):
    """While one thread plans and maps, another writes into the coordinates: any result, or a refusal."""
    extension = extension or _kernel._extension
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, 40_000))
    edges = np.linspace(0, 400, length + 1)
    axis = [(edges[1:] + edges[:-1]) / 2, edges[:-1].copy(), edges[1:].copy()]
    x, knots = rng.uniform(0, 400, 20_000), np.linspace(0, 400, 50)
    was = [array.copy() for array in (*axis, knots)]
    done = threading.Event()

    def disturb():
        while not done.is_set():
            for array, right in zip((*axis, knots), was, strict=True):
                array[...] = rng.choice([np.nan, np.inf, -1e300, 1e300, 0.0])
                array[...] = right

    with ThreadPoolExecutor(1) as pool:
        disturbing = pool.submit(disturb)
        try:
            for _ in range(5):
                extension.interpolate(x, np.empty(len(x)), knots, knots)
                kernel, format_ = int(rng.integers(4)), str(rng.choice(list("BHf")))
                with contextlib.suppress(ValueError):
                    extension.plan(True, kernel, *axis, 0, 399, 400, format_, 3, False)
        finally:
            done.set()
        disturbing.result()


def kinds():
    """What a seed is a case of, by its remainder; what takes long, less often."""
    import kernel_calls

    calls = {name: partial(getattr(kernel_calls, name), _kernel._extension) for name in ("refused", "soup")}
    usual = {"images": check, "hostile coordinates": check_hostile, "places": check_places}
    usual |= {"hostile places": check_hostile_places, "wrong arguments": calls["refused"], "anything": calls["soup"]}
    usual |= {"marginals": check_marginal, "hostile maps": check_hostile_map}
    rare = {"long axes": partial(check, long=True), "threads": check_threads, "races": check_race}
    return [*usual.items()] * 5 + [("images", check)] * 7 + [*rare.items()]


# --------------------------------------------------------------------------------------------------- the driver


def what_is_missing(folder, compiler, sanitizers):
    """Why nothing can be built with these sanitizers here; empty where it can."""
    if not shutil.which(compiler):
        return f"there is no compiler {compiler!r}"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's headers are not installed"
    trial = folder / "trial.c"
    trial.write_text("int main(void) { return 0; }\n")
    command = [compiler, f"-fsanitize={sanitizers}", trial, "-o", trial.with_suffix("")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        return f"{compiler} has no sanitizers {sanitizers}: {answer.stderr.strip().splitlines()[-1]}"
    return ""


def build(folder, compiler, sanitizers):
    """The kernel with sanitizers; returns its path and theirs."""
    library = folder / "_resample.abi3.so"
    flags = ["-g", "-O1", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fno-omit-frame-pointer"]
    flags += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", f"-I{sysconfig.get_path('include')}"]
    source = ROOT / "pmtools/_resample.c"
    subprocess.run(
        [compiler, *flags, "-DWITHOUT_AVX2", "-fsyntax-only", source], check=True
    )  # what other processors compile
    subprocess.run([compiler, *flags, source, "-o", library, "-lm"], check=True)
    runtime = f"-print-file-name={SANITIZERS[sanitizers]}"
    answer = subprocess.run([compiler, runtime], capture_output=True, text=True, check=True)
    return library, answer.stdout.strip()


def load(library):
    loader = importlib.machinery.ExtensionFileLoader("pmtools._resample", str(library))
    spec = importlib.util.spec_from_file_location("pmtools._resample", library, loader=loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def run(library, sanitizers, seconds, seed):
    """Inside the child, where the sanitizer is loaded."""
    _kernel._extension = load(library)
    # the kernel's results in watched memory, too
    watched = {**vars(np), "empty": lambda shape, dtype: exact(np.zeros(shape, dtype))}
    _kernel.np = types.SimpleNamespace(**watched)
    first, end = seed, time.monotonic() + seconds
    # a race on purpose is reported as one, and the other kinds have one thread
    choice, counts = [("threads", check_threads)] if sanitizers == "thread" else kinds(), Counter()
    while time.monotonic() < end:
        kind, function = choice[seed % len(choice)]
        function(seed)
        counts[kind] += 1
        seed += 1
    print(", ".join(f"{kind}: {count}" for kind, count in counts.most_common()))
    print(
        f"{sanitizers}: {seed - first} cases, seeds {first} to {seed - 1}: no error; AVX2: {_kernel._extension.has_avx2()}"
    )


def start(sanitizers, seconds, seed):
    """Build the kernel and run its cases in a child; returns its exit status."""
    folder, compiler = ROOT / "out" / "fuzz", os.environ.get("CC", "cc")
    folder.mkdir(parents=True, exist_ok=True)
    missing = what_is_missing(folder, compiler, sanitizers)
    if missing:
        print(f"not fuzzed: {missing}")
        return 0
    library, runtime = build(folder, compiler, sanitizers)
    environment = os.environ | {
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # leaks: the interpreter's own
        "PYTHONMALLOC": "malloc",  # so that every allocation is watched
        "PMTOOLS_FUZZ_LIBRARY": str(library),
        "PMTOOLS_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, str(seconds), str(seed), sanitizers]
    fixed = [
        "setarch",
        "--addr-no-randomize",
    ]  # ThreadSanitizer of older compilers wants addresses where they always were
    if shutil.which("setarch") and not subprocess.run([*fixed, "true"], capture_output=True, check=False).returncode:
        command = [*fixed, *command]
    return subprocess.run(command, env=environment, check=False).returncode


def main():
    if os.environ.get("PMTOOLS_FUZZ_LIBRARY"):
        run(os.environ["PMTOOLS_FUZZ_LIBRARY"], sys.argv[3], float(sys.argv[1]), int(sys.argv[2]))
        return
    seconds, seed = float((sys.argv[1:] or ["60"])[0]), int((sys.argv[2:] or ["0"])[0])
    shares = zip(SANITIZERS, (0.8 * seconds, 0.2 * seconds), strict=True)
    raise SystemExit(max(start(sanitizers, share, seed) for sanitizers, share in shares))


if __name__ == "__main__":
    main()
