"""What the resample costs next to what else there is: `make bench`.

Usage: `python tests/benchmarks/bench_resample.py [section ...] [--json FILE]`, sections: warp, shrink, tensor, gradient,
cuda, call, small, coordinates, imports, scaling, threads, memory (default: all; cuda runs only where PyTorch sees a GPU). One
thread unless a section says otherwise.

The candidates of a table take turns in random order, round after round, and each is divided by the reference of the same
round, so that a machine shared with others changes milliseconds but hardly the ratios; time is the processor's, but for
threads and GPUs. Printed: the median ratio with its quartiles, and the median time.

Nothing here is asserted: a benchmark is read, not passed.
"""

# ruff: noqa: E402  (the numbers of threads come before the imports that read them)
from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PMTOOLS_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import contextlib
import datetime
import gc
import hashlib
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

import pmtools
from pmtools import _kernel, _resample_generic, _resample_numpy, compat
from pmtools._versions import show_versions
from pmtools.footprints import choose_kernel, footprints

ROOT = Path(__file__).resolve().parents[2]
SECONDS = float(
    os.environ.get("PMTOOLS_BENCH_SECONDS", "8")
)  # a table; slow candidates take their least number of turns
RESULTS: dict[str, object] = {}


# -------------------------------------------------------------------------------------------------------- timing


def race(title, candidates, reference, *, wall=False, seconds=SECONDS, least=5, most=200, synchronize=None):
    """Time the candidates in turns; print and keep the table of ratios to `reference`."""
    clock = time.perf_counter if wall else time.process_time
    repeats = {}
    for name, function in candidates.items():
        function()
        start = clock()
        function()
        if synchronize:
            synchronize()
        repeats[name] = max(1, int(0.002 / max(clock() - start, 1e-7)))  # short calls in runs of 2 ms
    times = {name: [] for name in candidates}
    order, rng = list(candidates), np.random.default_rng(0)
    gc.disable()
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < least or (time.perf_counter() < end and rounds < most):
        rng.shuffle(order)
        for name in order:
            start = clock()
            for _ in range(repeats[name]):
                candidates[name]()
            if synchronize:
                synchronize()
            times[name].append((clock() - start) / repeats[name])
        rounds += 1
    gc.enable()
    base = np.array(times[reference])
    table = {}
    for name, values in times.items():
        ratio = np.array(values) / base
        low, middle, high = np.percentile(ratio, [25, 50, 75])
        table[name] = {"ratio": middle, "quartiles": [low, high], "ms": float(np.median(values)) * 1e3}
    show(title, table, f"{rounds} rounds; ratio to {reference}")
    return table


def show(title, table, note=""):
    RESULTS[title] = table
    print(f"\n{title}  ({note})" if note else f"\n{title}")
    width = max(map(len, table))
    for name, row in sorted(table.items(), key=lambda item: item[1]["ms"]):
        low, high = row["quartiles"]
        print(f"  {name:{width}}  x{row['ratio']:<8.3g} [{low:.3g} to {high:.3g}]  {row['ms']:10.3f} ms")
    sys.stdout.flush()


# ---------------------------------------------------------------------------------------------- images and maps


def heatmap():
    """Attention-like: two spots and noise on 24 x 24 tokens."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:24, 0:24]
    spots = np.exp(-((y - 9) ** 2 + (x - 14) ** 2) / 8) + 0.7 * np.exp(-((y - 18) ** 2 + (x - 5) ** 2) / 4)
    return (spots + 0.05 * rng.gamma(0.5, 1, (24, 24))).astype(np.float32)


def photograph(side, channels=3):
    """A photograph of side x side, with noise so that nothing is smooth by accident."""
    import skimage.data

    rng = np.random.default_rng(1)
    image = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((side, side), Image.Resampling.BICUBIC))
    noisy = np.clip(image + rng.integers(-12, 13, image.shape, dtype=np.int16), 0, 255).astype(np.uint8)
    return noisy if channels == 3 else np.ascontiguousarray(noisy[..., :1])


def axes(source, target):
    warp = pmtools.fit_warp(heatmap(), source_hw=(source, source), target_hw=(target, target))
    return footprints(warp.y)[0], footprints(warp.x)[0]


@contextlib.contextmanager
def numpy_only():
    """The door without the compiled kernel."""
    extension, _kernel._extension = _kernel._extension, None
    try:
        yield
    finally:
        _kernel._extension = extension


def index_maps(rows, columns):
    """Source indices of the output pixels, as OpenCV, scipy and scikit-image want them."""
    return (columns.centre - 0.5), (rows.centre - 0.5)


# -------------------------------------------------------------------------------------- the warp alone, uint8 (H, W, C)


def peers(image, rows, columns, slow=True):
    """What else resamples an (H, W, C) uint8 image along the same map, without anti-aliasing."""
    import cv2
    import torch
    from scipy.ndimage import map_coordinates
    from skimage.transform import warp

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    x, y = index_maps(rows, columns)
    shape = (len(rows), len(columns))

    def cv2_remap():
        map_x = np.ascontiguousarray(np.broadcast_to(x.astype(np.float32), shape))
        map_y = np.ascontiguousarray(np.broadcast_to(y.astype(np.float32)[:, None], shape))
        return cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def scipy_coordinates():
        grid = np.meshgrid(y, x, indexing="ij")
        planes = [map_coordinates(image[..., c], grid, order=1, mode="nearest") for c in range(image.shape[-1])]
        return np.stack(planes, axis=-1)

    def skimage_warp():
        grid = np.stack(np.meshgrid(y, x, indexing="ij"))
        planes = [warp(image[..., c], grid, order=1, mode="edge") for c in range(image.shape[-1])]
        return np.rint(np.stack(planes, axis=-1) * 255).astype(np.uint8)

    def torch_grid_sample():
        grid_x, grid_y = 2 * columns.centre / columns.size - 1, 2 * rows.centre / rows.size - 1
        grid = np.stack(np.meshgrid(grid_x, grid_y), axis=-1).astype(np.float32)
        planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        result = torch.nn.functional.grid_sample(
            planes, torch.from_numpy(grid)[None], padding_mode="border", align_corners=False
        )
        return result[0].permute(1, 2, 0).round().to(torch.uint8).contiguous().numpy()

    found = {"cv2.remap": cv2_remap}
    if slow:
        found["torch grid_sample (conversions included)"] = torch_grid_sample
        found["scipy map_coordinates (the official core)"] = scipy_coordinates
        found["skimage.transform.warp"] = skimage_warp
        with contextlib.suppress(ImportError):
            from kornia.geometry.transform import remap

            def kornia_remap():
                planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
                map_x = torch.from_numpy(np.broadcast_to(x.astype(np.float32), shape).copy())[None]
                map_y = torch.from_numpy(np.broadcast_to(y.astype(np.float32)[:, None], shape).copy())[None]
                result = remap(planes, map_x, map_y, padding_mode="border", align_corners=True)
                return result[0].permute(1, 2, 0).round().to(torch.uint8).contiguous().numpy()

            found["kornia remap (conversions included)"] = kornia_remap
    return found


def ours(image, rows, columns):
    """The back ends, without and with anti-aliasing, on (1, H, W, C)."""
    pixels = image[None]
    found = {}
    for label, antialias in (("linear", False), ("anti-aliased", True)):
        kernels = tuple(choose_kernel(axis, antialias=antialias) for axis in (rows, columns))
        case = (pixels, rows, columns, kernels, None)
        if _kernel.serves(pixels):
            found[f"pmtools C, {label}"] = lambda case=case: _kernel.resample(*case)
            found[f"pmtools C portable, {label}"] = lambda case=case: _kernel.resample(*case, portable=True)
        found[f"pmtools NumPy, {label}"] = lambda case=case: _resample_numpy.resample(*case)
    return found


def bench_warp():
    for side in (336, 1024, 4096):
        image = photograph(side)
        rows, columns = axes(side, side)
        copy = np.empty_like(image)
        candidates = {**peers(image, rows, columns), **ours(image, rows, columns)}
        candidates["memcpy of the input"] = lambda image=image, copy=copy: np.copyto(copy, image)
        race(f"warp uint8 {side} -> {side}, 3 channels", candidates, "cv2.remap")
    for channels in (1, 4):
        image = np.ascontiguousarray(np.repeat(photograph(1024, 1), channels, axis=-1))
        rows, columns = axes(1024, 1024)
        candidates = {**peers(image, rows, columns, slow=False), **ours(image, rows, columns)}
        race(f"warp uint8 1024 -> 1024, {channels} channel(s)", candidates, "cv2.remap")
    for dtype in (np.uint16, np.float32):
        image = photograph(1024).astype(dtype)
        rows, columns = axes(1024, 1024)
        candidates = {**peers(image, rows, columns, slow=False), **ours(image, rows, columns)}
        race(f"warp {np.dtype(dtype)} 1024 -> 1024, 3 channels", candidates, "cv2.remap")


def bench_shrink():
    """Straight to what a model takes: the whole of it against Pillow's plain resize."""
    for side in (1024, 4096):
        image = photograph(side)
        rows, columns = axes(side, 336)
        picture = Image.fromarray(image)
        candidates = {**peers(image, rows, columns, slow=side == 1024), **ours(image, rows, columns)}
        for name in ("BOX", "BICUBIC"):
            kind = Image.Resampling[name]
            candidates[f"PIL resize {name} (no warp)"] = lambda picture=picture, kind=kind: picture.resize(
                (336, 336), kind
            )
        race(f"warp uint8 {side} -> 336, 3 channels", candidates, "PIL resize BOX (no warp)")


# ----------------------------------------------------------------------------------------- tensors, (n, C, H, W)


def tensor_case(batch, side, device="cpu", dtype=None):
    import torch

    dtype = dtype or torch.float32
    planes = torch.rand((batch, 3, side, side), generator=torch.Generator().manual_seed(0)).to(device, dtype)
    warp = pmtools.fit_warp(torch.from_numpy(heatmap()).to(device), source_hw=(side, side))
    return planes, warp


def bench_tensor():
    import torch

    torch.set_num_threads(1)
    for side in (336, 1024):
        planes, warp = tensor_case(1, side)
        grid = warp.to_grid_sample().float()
        rows, columns = footprints(warp.y)[0], footprints(warp.x)[0]
        case = (planes.permute(0, 2, 3, 1), rows, columns, ("linear", "linear"), None)
        candidates = {
            "torch grid_sample (grid given)": lambda planes=planes, grid=grid: torch.nn.functional.grid_sample(
                planes, grid, padding_mode="border", align_corners=False
            ),
            "Warp.image, linear (whole call)": lambda planes=planes, warp=warp: warp.image(planes, antialias=False),
            "Warp.image, anti-aliased (whole call)": lambda planes=planes, warp=warp: warp.image(planes),
            "pmtools generic, linear": lambda case=case: _resample_generic.resample(*case),
        }
        with contextlib.suppress(ImportError):
            from kornia.geometry.transform import remap

            x, y = (2 * (g + 1) for g in (grid[..., 0], grid[..., 1]))
            candidates["kornia remap (maps given)"] = lambda planes=planes, x=x, y=y: remap(
                planes, x, y, padding_mode="border", align_corners=False
            )
        race(f"tensor float32 (1, 3, {side}, {side})", candidates, "torch grid_sample (grid given)")


def bench_gradient():
    """Forward and backward, to the image and to the map."""
    import torch

    torch.set_num_threads(1)
    for side in (336,):
        planes, _ = tensor_case(1, side)
        weights = torch.rand((24, 24), generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.2

        def step(warp_image, planes=planes, weights=weights, side=side):
            image, heat = planes.clone().requires_grad_(), weights.clone().requires_grad_()
            warp = pmtools.Warp.from_map(heat, source_hw=(side, side))
            warp_image(warp, image).square().sum().backward()

        def with_grid_sample(warp, image):
            grid = warp.to_grid_sample().float()
            return torch.nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=False)

        candidates = {
            "torch grid_sample": lambda: step(with_grid_sample),
            "Warp.image, linear": lambda: step(lambda warp, image: warp.image(image, antialias=False)),
            "Warp.image, anti-aliased": lambda: step(lambda warp, image: warp.image(image)),
        }
        race(f"forward and backward, float32 (1, 3, {side}, {side})", candidates, "torch grid_sample")


def bench_cuda():
    """On a GPU: (n, 3, H, W) against grid_sample, kornia, and reading and writing the pixels once."""
    import torch

    if not torch.cuda.is_available():
        print("\ncuda: PyTorch sees no GPU; not measured")
        return
    RESULTS["cuda device"] = torch.cuda.get_device_name()
    for dtype in (torch.float32, torch.bfloat16):
        for side in (336, 1024):
            for batch in (1, 16, 64):
                race_on_device("cuda", dtype, batch, side, compiled=dtype == torch.float32 and batch == 16)


def race_on_device(device, dtype, batch, side, *, compiled, seconds=3):
    """One table of `bench_cuda`; `device="cpu"` tries its code out."""
    import torch

    planes, warp = tensor_case(batch, side, device, dtype)
    grid = warp.to_grid_sample().to(dtype).expand(batch, -1, -1, -1)
    rows, columns = footprints(warp.y)[0], footprints(warp.x)[0]
    pixels, copy = planes.permute(0, 2, 3, 1), torch.empty_like(planes)
    linear, averaged = ("linear", "linear"), tuple(choose_kernel(axis, antialias=True) for axis in (rows, columns))
    candidates = {
        "torch grid_sample (grid given)": lambda: torch.nn.functional.grid_sample(
            planes, grid, padding_mode="border", align_corners=False
        ),
        "copy: read and write once": lambda: copy.copy_(planes),
        "Warp.image, linear (whole call)": lambda: warp.image(planes, antialias=False),
        "Warp.image, anti-aliased (whole call)": lambda: warp.image(planes),
        "pmtools generic, linear": lambda: _resample_generic.resample(pixels, rows, columns, linear, None),
        "pmtools generic, anti-aliased": lambda: _resample_generic.resample(pixels, rows, columns, averaged, None),
    }
    if compiled:  # minutes for all tables; each shape is compiled anew
        torch.compiler.reset()
        function = torch.compile(_resample_generic.resample, dynamic=False)
        candidates["pmtools generic, linear, torch.compile"] = lambda: function(pixels, rows, columns, linear, None)
    with contextlib.suppress(ImportError):
        from kornia.geometry.transform import remap

        x, y = (side * (g.float() + 1) / 2 for g in (grid[..., 0], grid[..., 1]))
        candidates["kornia remap (maps given)"] = lambda: remap(
            planes.float(), x, y, padding_mode="border", align_corners=False
        )
    for name in list(candidates):
        try:
            candidates[name]()
        except (RuntimeError, NotImplementedError) as error:  # bfloat16 on a CPU, no compiler at hand
            print(f"\nleft out: {name}: {str(error).splitlines()[0][:200]}")
            del candidates[name]
    exact = torch.nn.functional.grid_sample(
        planes.double(),
        warp.to_grid_sample().double().expand(batch, -1, -1, -1),
        padding_mode="border",
        align_corners=False,
    )
    off = float((warp.image(planes, antialias=False).double() - exact).abs().max())
    title = f"{device} {str(dtype).rpartition('.')[2]} ({batch}, 3, {side}, {side})"
    wait = torch.cuda.synchronize if device == "cuda" else None
    reference = next(iter(candidates))
    race(title, candidates, reference, wall=True, seconds=seconds, synchronize=wait)
    print(f"  Warp.image, linear, differs from grid_sample in float64 by at most {off:.2g}")


# ----------------------------------------------------------------------------------------------- the whole call


def official(image, heat):
    """The official pipeline: METHOD.md, section 3."""
    weights = compat.official_perception_map(heat, size_hw=image.shape[:2])
    return compat.official_magnify(image, weights)


def bench_call():
    heat = heatmap()
    for side in (336, 1024, 4096):
        image = photograph(side)
        picture = Image.fromarray(image)

        def without_kernel(antialias, image=image):
            with numpy_only():
                pmtools.magnify(image, heat, antialias=antialias)

        candidates = {
            "official": lambda image=image: official(image, heat),
            "magnify": lambda image=image: pmtools.magnify(image, heat),
            "magnify, antialias=False": lambda image=image: pmtools.magnify(image, heat, antialias=False),
            "magnify, NumPy": lambda: without_kernel(True),
            "magnify, NumPy, antialias=False": lambda: without_kernel(False),
            "magnify, PIL to PIL": lambda picture=picture: pmtools.magnify(picture, heat),
            "fit_warp alone": lambda side=side: pmtools.fit_warp(heat, source_hw=(side, side)),
        }
        race(f"magnify(image, heatmap), uint8 {side} x {side} x 3", candidates, "official")


def bench_small():
    """A warp used before, where VLMs take images; and what does not depend on the pixels."""
    image = photograph(336)
    rows, columns = axes(336, 336)
    warp = pmtools.fit_warp(heatmap(), source_hw=(336, 336))
    few = pmtools.fit_warp(heatmap(), source_hw=(4, 4), target_hw=(4, 4))
    pixels, out = np.zeros((4, 4, 3), np.uint8), np.empty_like(image)
    case = (image[None], rows, columns, tuple(choose_kernel(axis, antialias=True) for axis in (rows, columns)), None)
    batch, batched = np.stack([image] * 16), pmtools.Warp.stack([warp] * 16)
    candidates = {
        **peers(image, rows, columns, slow=False),
        "Warp.image": lambda: warp.image(image),
        "Warp.image, out=": lambda: warp.image(image, out=out),
        "Warp.image, antialias=False": lambda: warp.image(image, antialias=False),
        "the kernel of Warp.image": lambda: _kernel.resample(*case),
        "Warp.image, 4 x 4": lambda: few.image(pixels),
        "Warp.inverse_image": lambda: warp.inverse_image(image),
        "16 warps, 16 images": lambda: batched.image(batch),
    }
    race("a warp used before, uint8 336 x 336 x 3", candidates, "cv2.remap")


def bench_coordinates():
    """A million points in no order."""
    rng = np.random.default_rng(0)
    warp = pmtools.fit_warp(heatmap(), source_hw=(336, 336))
    points = rng.random((1_000_000, 2)) * 336
    beyond, single = points * 1.1 - 10, points.astype(np.float32)
    boxes = np.sort(points.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    (x, y), (x_after, y_after) = (axis.pieces[0].before for axis in (warp.x, warp.y)), (warp.x, warp.y)

    def with_numpy():
        out = np.empty_like(points)
        out[:, 0] = np.interp(points[:, 0], x, x_after.pieces[0].after)
        out[:, 1] = np.interp(points[:, 1], y, y_after.pieces[0].after)
        return out

    candidates = {
        "a copy": points.copy,
        "np.interp, column by column": with_numpy,
        "points": lambda: warp.points(points),
        "points, some beyond the image": lambda: warp.points(beyond),
        "points in float32": lambda: warp.points(single),
        "inverse_points": lambda: warp.inverse_points(points),
        "boxes, half as many": lambda: warp.boxes(boxes),
    }
    race("1 000 000 points, float64", candidates, "a copy")


def bench_imports():
    """Fresh processes, in turn: the least of the processor's time, which others on the machine can only raise."""
    code = {"numpy and PIL": "import numpy, PIL.Image", "pmtools": "import pmtools", "nothing": ""}
    report = "\nimport resource\nused = resource.getrusage(resource.RUSAGE_SELF)\nprint(used.ru_utime + used.ru_stime)"
    times = {name: [] for name in code}
    for _ in range(20):
        for name, lines in code.items():
            answer = subprocess.run([sys.executable, "-c", lines + report], capture_output=True, text=True, check=True)
            times[name].append(float(answer.stdout))
    table = {}
    for name, values in times.items():
        ratios = np.array(values) / np.array(times["numpy and PIL"])
        least = min(values) / min(times["numpy and PIL"])
        table[name] = {"ratio": least, "quartiles": np.percentile(ratios, [25, 75]).tolist(), "ms": min(values) * 1e3}
    show("imports", table, "20 rounds; least over the least of numpy and PIL")


def bench_scaling():
    """Nanoseconds for an output pixel: the same at every size, if the cost is linear in them."""
    table = {}
    for side in (256, 512, 1024, 2048, 4096):
        image = photograph(side)[None]
        rows, columns = axes(side, side)
        kernels = tuple(choose_kernel(axis, antialias=True) for axis in (rows, columns))
        times = []
        for _ in range(7):
            start = time.process_time()
            _kernel.resample(image, rows, columns, kernels, None)
            times.append(time.process_time() - start)
        table[side] = {"ns per pixel": float(np.median(times)) / side**2 * 1e9}
    RESULTS["scaling, anti-aliased, same size"] = table
    print(
        "\nns per output pixel, anti-aliased: " + ", ".join(f"{k}: {v['ns per pixel']:.2f}" for k, v in table.items())
    )


def bench_threads():
    """A list of photographs, and a batch, on one thread and on two; wall time."""
    heat = heatmap()
    images = [photograph(1024 + 16 * i) for i in range(8)]
    warps = [pmtools.fit_warp(heat, source_hw=image.shape[:2]) for image in images]
    batch, noise = np.stack([photograph(1024)] * 8), [os.urandom(3_000_000) for _ in range(8)]
    large = [Image.fromarray(image) for image in images]
    outs, batch_out = [np.zeros_like(image) for image in images], np.zeros_like(batch)

    def with_threads(count, work):
        os.environ["PMTOOLS_THREADS"] = str(count)
        try:
            work()
        finally:
            os.environ["PMTOOLS_THREADS"] = "1"

    for name, work in {
        "what the cores give: SHA-256 of 8 buffers": lambda: _kernel.map_threads(
            lambda data: hashlib.sha256(data).digest(), noise
        ),
        "8 arrays and warps used before, out=": lambda: _kernel.map_threads(
            lambda case: case[0].image(case[1], out=case[2]), zip(warps, images, outs, strict=True)
        ),
        "8 fits and their footprints, which hold the GIL": lambda: [
            pmtools.fit_warp(heat, source_hw=image.shape[:2])._footprints for image in images
        ],
        "8 arrays in a list, out=": lambda: pmtools.magnify(images, heat, out=outs),
        "8 arrays in a list": lambda: pmtools.magnify(images, heat),
        "8 PIL images in a list": lambda: pmtools.magnify(large, heat),
        "8 arrays in a batch, out=": lambda: pmtools.magnify(batch, heat, out=batch_out),
    }.items():
        candidates = {
            f"{k} thread(s)": lambda k=k, work=work: with_threads(k, work) for k in sorted({1, 2, os.cpu_count()})
        }
        race(f"threads: {name}, about 1024 x 1024", candidates, "1 thread(s)", wall=True)


# -------------------------------------------------------------------------------------------------------- memory

MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
import pmtools

def peak():
    status = Path("/proc/self/status")
    if status.exists():  # Linux: ru_maxrss would start from the parent's
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

side, target, antialias = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
heat = np.random.default_rng(0).random((24, 24))
small = np.zeros((64, 64, 3), np.uint8)
pmtools.magnify(small, heat), pmtools.magnify(small, heat, size_hw=(32, 32))  # what a first call imports and allocates
image = np.full((side, side, 3), 7, np.uint8)
out = np.full((target, target, 3), 7, np.uint8)  # the size of the output, so that only the rest is counted
before = peak()
del out
pmtools.magnify(image, heat, size_hw=(target, target), antialias=antialias)
print((peak() - before) / image.nbytes)
"""


def bench_memory():
    table = {}
    for kernel in ("", "numpy"):
        for target, antialias in ((4096, True), (4096, False), (336, True)):
            environment = os.environ | {"PMTOOLS_KERNEL": kernel}
            command = [sys.executable, "-c", MEMORY, "4096", str(target), str(antialias)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            name = f"4096 -> {target}, {'NumPy' if kernel else 'C'}, {'anti-aliased' if antialias else 'linear'}"
            table[name] = float(answer.stdout)
            print(f"memory beyond input and output / input, {name}: {table[name]:.3f}")
    RESULTS["memory"] = table


# ---------------------------------------------------------------------------------------------------------- main


def hardware():
    """The processor's name and the number of cores."""
    name = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"


def commit():
    answer = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    return answer.stdout.strip() or "unknown"


def main():
    sections = {name.removeprefix("bench_"): f for name, f in globals().items() if name.startswith("bench_")}
    parser = argparse.ArgumentParser(description="What the resample costs next to what else there is.")
    parser.add_argument("section", nargs="*", help=f"{', '.join(sections)} (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    arguments = parser.parse_args()
    unknown = set(arguments.section) - set(sections)
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(sections)}")
    RESULTS["where"] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "hardware": hardware(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "commit": commit(),
        "versions": show_versions().splitlines(),
    }
    print("\n".join(f"{key}: {value}" for key, value in RESULTS["where"].items() if key != "versions"))
    print(show_versions())
    for name in arguments.section or sections:
        sections[name]()
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(RESULTS, indent=1, default=float))
        print(f"\nwritten: {arguments.json}")


if __name__ == "__main__":
    main()
