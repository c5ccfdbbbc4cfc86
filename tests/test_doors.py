"""What comes in is read as what it is, or refused by name; what goes through keeps gradients, range, dtype and byte order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import pmtools
from pmtools import Warp, annotation, api, fit_warp, frames, magnify


@pytest.fixture
def heatmap() -> np.ndarray:
    heat = np.zeros((6, 8))
    heat[2, 5] = 1
    return heat


@pytest.fixture
def warp(heatmap) -> Warp:
    return fit_warp(heatmap, source_hw=(24, 33), target_hw=(30, 40))


# ------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("verb", ["points", "inverse_points", "boxes", "inverse_boxes"])
def test_coordinates_have_gradients_through_a_numpy_warp(warp, verb):
    coordinates = torch.tensor([[3.3, 4.4, 20.2, 21.1]], dtype=torch.float64)[:, : 2 if "points" in verb else 4]
    coordinates.requires_grad_()
    assert torch.autograd.gradcheck(getattr(warp, verb), coordinates)
    batch = fit_warp(np.random.default_rng(0).random((2, 4, 4)), source_hw=(24, 33))
    assert torch.autograd.gradcheck(getattr(batch, verb), coordinates.detach().repeat(2, 1, 1).requires_grad_())


def test_gradients_reach_warp_and_points_at_once():
    heat = torch.rand(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    xy = torch.tensor([[3.3, 4.4]], dtype=torch.float64, requires_grad=True)
    fit_warp(heat, source_hw=(20, 20), gain=1).points(xy).sum().backward()
    assert heat.grad.abs().sum() > 0
    assert xy.grad.abs().sum() > 0


def test_torch_func_agrees_with_autograd(heatmap, warp):
    image = torch.rand(3, 24, 33, generator=torch.Generator().manual_seed(0))
    heat = torch.as_tensor(heatmap, dtype=torch.float32) + torch.rand(6, 8, generator=torch.Generator().manual_seed(2))
    mix = torch.rand(3, 24, 33, generator=torch.Generator().manual_seed(3))

    def loss(image, heat):
        return (magnify(image, heat, gain=2) * mix).sum()

    tracked = image.clone().requires_grad_(), heat.clone().requires_grad_()
    loss(*tracked).backward()
    for found, wanted in zip(torch.func.grad(loss, argnums=(0, 1))(image, heat), tracked, strict=True):
        torch.testing.assert_close(found, wanted.grad)
    value, tangent = torch.func.jvp(lambda x: loss(x, heat), (image,), (mix,))
    torch.testing.assert_close(value, loss(image, heat))
    torch.testing.assert_close(tangent, (tracked[0].grad * mix).sum(), rtol=1e-4, atol=1e-4)
    points = torch.rand(5, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * 20
    torch.testing.assert_close(torch.vmap(warp.points)(points), warp.points(points))
    jacobian = torch.func.jacrev(warp.points)(points[0])
    torch.testing.assert_close(jacobian, torch.autograd.functional.jacobian(warp.points, points[0]))


def test_vmap_over_images_is_refused(heatmap):
    with pytest.raises(TypeError, match=r"`image` must not come from torch\.vmap.*the whole batch"):
        torch.vmap(lambda x: magnify(x, heatmap))(torch.zeros(2, 3, 24, 33))
    with pytest.raises(TypeError, match=r"`heatmap` must not come from torch\.vmap"):
        torch.vmap(lambda h: magnify(torch.zeros(3, 24, 33), h))(torch.ones(2, 4, 4))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # Dynamo's own
def test_compiled_functions_give_the_same(heatmap, warp):
    image, heat = torch.rand(3, 24, 33, generator=torch.Generator().manual_seed(0)), torch.as_tensor(heatmap)
    torch._dynamo.reset()
    for call, arguments in (
        (lambda x, h: magnify(x * 2, h) + 1, (image, heat)),
        (lambda x: warp.image(x * 2) + 1, (image,)),
        (lambda x: magnify(x * 2, boxes=[3, 3, 9, 9], zoom=1.5) + 1, (image,)),
        (lambda h: fit_warp(h * 2, source_hw=(24, 33)).boxes(torch.ones(3, 4)), (heat,)),
        (lambda xy: warp.points(xy * 2) + 1, (torch.ones(3, 2),)),
    ):
        compiled = torch.compile(call, backend="eager")
        torch.testing.assert_close(compiled(*arguments), call(*arguments), rtol=0, atol=0)
    learned = image.clone().requires_grad_()
    torch.compile(lambda x: magnify(x * 2, heat), backend="aot_eager")(learned).sum().backward()
    wanted = image.clone().requires_grad_()
    magnify(wanted * 2, heat).sum().backward()
    torch.testing.assert_close(learned.grad, wanted.grad)


def test_export_is_refused_by_name(heatmap):
    class Magnify(torch.nn.Module):
        def forward(self, image, heat):
            return magnify(image, heat)

    with pytest.raises(TypeError, match=r"`magnify` cannot be exported.*to_grid_sample"):
        torch.export.export(Magnify(), (torch.zeros(3, 24, 33), torch.as_tensor(heatmap)), strict=False)


# ---------------------------------------------------------------------------------------------- nothing was found


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4)), np.zeros((2, 0, 4)), torch.zeros(0, 4), np.zeros((0, 4), int)])
def test_no_boxes(warp, empty):
    shape = (0, 4) if isinstance(empty, list) else tuple(empty.shape)
    assert tuple(warp.boxes(empty).shape) == tuple(warp.inverse_boxes(empty).shape) == shape
    batch = fit_warp(np.random.default_rng(0).random((2, 4, 4)), source_hw=(24, 33))
    assert batch.boxes(np.zeros((2, 0, 4))).shape == (2, 0, 4)
    if len(shape) == 2:
        assert not pmtools.heatmaps.from_boxes(empty, source_hw=(24, 33)).any()
        pmtools.viz.draw_boxes(np.zeros((24, 33, 3), np.uint8), empty)


def test_no_points(warp):
    assert warp.points([]).shape == (0, 2)
    assert not pmtools.heatmaps.from_points(np.zeros((0, 2)), source_hw=(24, 33)).any()
    image = np.random.default_rng(0).random((24, 33))
    np.testing.assert_array_equal(magnify(image, pmtools.heatmaps.from_points([], source_hw=(24, 33))), image)


def test_no_masks_and_no_images(warp, xp):
    assert tuple(warp.mask(xp.asarray(np.zeros((0, 24, 33), bool))).shape) == (0, 30, 40)
    assert tuple(warp.inverse_mask(xp.asarray(np.zeros((0, 30, 40), bool))).shape) == (0, 24, 33)
    shape = (0, 3, 24, 33) if "torch" in xp.name else (0, 24, 33, 3)
    result = warp.image(xp.asarray(np.zeros(shape, np.float32)))
    assert tuple(result.shape) == ((0, 3, 30, 40) if "torch" in xp.name else (0, 30, 40, 3))
    assert xp.numpy(result).dtype == np.float32
    with pytest.raises(ValueError, match="must not be empty"):
        warp.image(xp.asarray(np.zeros((1, 0, 33, 3))))


# --------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(48, 64, 3),  # H, W, C
        torch.zeros(2, 48, 64, 3),
        np.zeros((3, 48, 64)),  # C, H, W
        np.zeros((2, 3, 48, 64)),
        np.zeros((30, 48, 64)),  # Z, Y, X
        torch.zeros(100, 48, 64),
        np.zeros((64, 48, 64)),
    ],
)
def test_another_layout_is_not_warped_along_the_wrong_axes(image, heatmap):
    for call in (
        lambda **options: magnify(image, heatmap, **options),
        lambda **options: pmtools.mosaic(image, [1, 1, 2, 2], size_hw=(40, 40), **options),
    ):
        with pytest.raises(ValueError, match=r"`image` must be .*`channel_axis`"):
            call()
        call(channel_axis=-3 if image.shape[-1] != 3 else -1)


def test_usual_layouts_are_taken(heatmap):
    for image in (
        np.zeros((4, 4, 4)),
        np.zeros((2, 50, 3)),
        torch.zeros(4, 3, 3),
        np.zeros((100, 90, 64)),
        torch.zeros(2, 3, 9, 8),
    ):
        assert magnify(image, heatmap).shape == image.shape


def test_a_list_of_boxes_is_no_heatmap():
    image = np.zeros((24, 33))
    for boxes in ([[1, 1, 5, 5]], [(0.5, 2, 9, 20), (1, 2, 3, 4)]):
        with pytest.raises(
            ValueError, match=r"`heatmap` must be a map, got what looks like a list of . boxes; give `boxes`"
        ):
            magnify(image, boxes)
        assert magnify(image, np.array(boxes)).shape == image.shape  # an array is what it was
    assert magnify(image, [[4, 3, 2, 1], [0, 0, 0, 1]]).shape == image.shape


def test_masked_arrays_do_not_bleed(heatmap, warp):
    image = np.ma.masked_array(np.full((24, 33), 1e20), mask=np.eye(24, 33) > 0)
    with pytest.raises(ValueError, match=r"`image` must not hide values.*image\.filled"):
        magnify(image, heatmap)
    with pytest.raises(ValueError, match="`points_xy` must not hide values"):
        warp.points(np.ma.masked_array([[1.0, 2.0]], mask=[[True, False]]))
    with pytest.raises(ValueError, match="`heatmap` must not hide values"):
        magnify(np.zeros((24, 33)), np.ma.masked_array(heatmap, mask=heatmap > 0))
    assert np.isnan(magnify(image.filled(np.nan), heatmap)).any()
    assert magnify(np.ma.masked_array(np.ones((24, 33))), heatmap).min() == 1  # nothing is hidden


def test_boxes_that_know_their_format_are_corners_or_refused(warp):
    class Boxes(torch.Tensor):
        """As torchvision's `tv_tensors.BoundingBoxes`, which the next test takes where it is installed."""

        canvas_size = (24, 33)

    class Format:
        value = "XYWH"

    boxes = torch.ones(1, 4).as_subclass(Boxes)
    boxes.format = Format()
    for call in (
        *(warp.boxes, warp.inverse_boxes, lambda b: pmtools.zoom_warp(b, source_hw=(24, 33)), warp.report),
        *(frames.flip_horizontal((24, 33)).boxes, lambda b: api.mark_url("https://example.com/a.png", b)),
        *(lambda b: Warp.stack([warp, warp]).boxes([b, b]), lambda b: warp.boxes((torch.ones(1, 4), b))),
    ):
        with pytest.raises(ValueError, match="must be x0, y0, x1, y1, got boxes of format XYWH; give them to"):
            call(boxes)
    assert annotation.convert(boxes, "xywh", "xyxy").tolist() == [[1, 1, 2, 2]]
    for call in (lambda: annotation.convert(boxes, "cxcywh", "xyxy"), lambda: annotation.visible_share(boxes, warp)):
        with pytest.raises(ValueError, match="got boxes of format XYWH"):
            call()
    Format.value = "XYXY"
    assert torch.equal(torch.Tensor(warp.boxes(boxes)), warp.boxes(torch.ones(1, 4)))


def test_torchvision_boxes(warp):
    tv_tensors = pytest.importorskip("torchvision.tv_tensors")
    numbers = torch.tensor([[3.0, 4.0, 9.0, 8.0]])
    for form in ("XYWH", "CXCYWH"):
        with pytest.raises(ValueError, match=form):
            warp.boxes(tv_tensors.BoundingBoxes(numbers, format=form, canvas_size=(24, 33)))
    corners = tv_tensors.BoundingBoxes(numbers, format="XYXY", canvas_size=(24, 33))
    assert torch.equal(torch.Tensor(warp.boxes(corners)), warp.boxes(numbers))
    with tv_tensors.set_return_type("TVTensor"):  # before, the result had the size of the source
        assert type(warp.boxes(corners)) is torch.Tensor


def test_what_exif_turns_is_not_read_in_two_ways(heatmap):
    image = Image.new("RGB", (33, 24))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()
    with pytest.raises(ValueError, match=r"`image` must be upright.*exif_transpose"):
        magnify(image, boxes=[1, 1, 5, 5])
    with pytest.raises(ValueError, match="`image` must be upright"):
        pmtools.mosaic(image, [1, 1, 5, 5], size_hw=(20, 20))
    assert magnify(image, heatmap).getexif()[0x0112] == 6  # as it was: the pixels stored, and the tag


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda h: fit_warp(h, source_hw=(np.array([3, 4]), 3)), r"source_hw\[0\]"),
        (lambda h: magnify(np.zeros((9, 9)), h, kernel_size=np.array([3, 3])), "kernel_size"),
        (lambda h: magnify(np.zeros((9, 9)), h, kernel_size=torch.tensor([3.0])), "kernel_size"),
        (lambda h: magnify(np.zeros((9, 9, 3)), h, channel_axis=np.array([1, 2])), "channel_axis"),
        (lambda h: magnify(np.zeros((9, 9)), h, gain=np.array([1.0, 2.0])), "gain"),
        (lambda h: pmtools.frames.crop((9, 9), np.array([[1, 2, 3, 4]] * 4)), r"box_xyxy\[0\]"),
    ],
)
def test_arrays_as_numbers_are_refused_by_name(call, name, heatmap):
    with pytest.raises(TypeError, match=f"`{name}` must be an? .*, got (ndarray|Tensor) of shape"):
        call(heatmap)


# ---------------------------------------------------------------------------------------------- range and precision


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_reductions_stay_in_the_range_of_the_image(xp, dtype):
    stripes = np.where(np.arange(64) // 8 % 2, 100, 150)
    image = np.broadcast_to(stripes, (64, 64)).astype(dtype)
    reduced = xp.numpy(magnify(xp.asarray(image), np.ones((2, 2)), size_hw=(24, 24)))
    assert reduced.min() == 100
    assert reduced.max() == 150
    batch = np.stack([image, image // 2 if dtype != "float32" else image / 2])[..., None]
    batch = np.moveaxis(batch, -1, 1) if "torch" in xp.name else batch
    reduced = xp.numpy(magnify(xp.asarray(batch), np.ones((2, 2)), size_hw=(24, 24)))
    assert reduced[1].min() == 50  # each image its own
    assert reduced[1].max() == 75


@pytest.mark.parametrize("size_hw", [None, (10, 40), (60, 70)])
def test_huge_floats_stay_finite(xp, rng, heatmap, size_hw):
    huge = np.where(rng.random((24, 33)) < 0.5, 3.4e38, -3.4e38).astype(np.float32)
    result = xp.numpy(magnify(xp.asarray(huge), heatmap, size_hw=size_hw))
    assert np.isfinite(result).all()
    wanted = magnify(huge.astype(np.float64), heatmap, size_hw=size_hw)
    np.testing.assert_allclose(result, wanted, atol=1e33)


def test_huge_floats_stay_finite_in_the_portable_kernel(rng, heatmap, monkeypatch):
    from pmtools import _kernel

    if _kernel._extension is None:
        pytest.skip("the compiled kernel is not there")
    portable = _kernel.resample_each.__kwdefaults__
    monkeypatch.setitem(portable, "portable", True)
    huge = np.where(rng.random((24, 33)) < 0.5, 3.4e38, -3.4e38).astype(np.float32)
    for size_hw in (None, (10, 40), (60, 70)):
        assert np.isfinite(magnify(huge, heatmap, size_hw=size_hw)).all()


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", ">u2", ">i4"])
def test_byte_order_stays(rng, heatmap, dtype):
    image = (rng.random((2, 24, 33, 3)) * 200).astype(dtype)
    batch = fit_warp(np.stack([heatmap, heatmap[::-1]]), source_hw=(24, 33))
    padded = fit_warp(heatmap, source_hw=(24, 33)).then(pmtools.frames.pad_to_square((24, 33)))
    for result, native in (
        (magnify(image, heatmap), magnify(image.astype(dtype[1:]), heatmap)),
        (batch.image(image), batch.image(image.astype(dtype[1:]))),
        (padded.image(image, fill=7), padded.image(image.astype(dtype[1:]), fill=7)),
        (pmtools.mosaic(image, [1, 1, 9, 9], size_hw=(20, 20)), None),
    ):
        assert result.dtype == np.dtype(dtype)
        if native is not None:
            np.testing.assert_allclose(result.astype(float), native.astype(float), atol=1)
    if dtype[1] == "f" and dtype != ">f2":
        assert batch[0].points(np.ones((3, 2), dtype)).dtype == np.dtype(dtype)
    spoiled = image[0].copy()
    if dtype[1] == "f":
        spoiled[3, 3] = np.nan
        assert magnify(spoiled, heatmap).dtype == np.dtype(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_coordinates_are_not_off_by_pixels(dtype):
    warp = fit_warp(np.eye(8), source_hw=(2048, 2048))
    xy = torch.tensor([[1027.0, 1900.0]]).to(dtype)
    there = warp.points(xy)
    assert there.dtype == torch.float32
    np.testing.assert_allclose(there.numpy(), warp.points(xy.double().numpy()), atol=1e-3)
    made = pmtools.fit_mosaic([0, 0, 9, 9], source_hw=(2048, 2048), target_hw=(900, 900))
    assert made.points(xy).coordinates.dtype == torch.float32


def test_floors_that_cannot_be_undone_are_refused():
    spot = np.zeros((1, 100))
    spot[0, 50] = 1
    for floor in (1e-7, 1e-12):
        with pytest.raises(ValueError, match=r"`floor` .* is too small for this map.*use at least 1e-06"):
            Warp.from_map(spot, source_hw=(1, 4000), floor=floor)
    warp = Warp.from_map(spot, source_hw=(1, 4000), floor=1e-6)
    x = np.stack([np.linspace(0, 4000, 999), np.zeros(999)], axis=-1)
    assert np.abs(warp.inverse_points(warp.points(x)) - x).max() < 1e-5
    Warp.from_map(spot + 0.1, source_hw=(1, 4000), floor=1e-9)  # nothing is compressed so far


# -------------------------------------------------------------------------------------------------------- exporters


def chains(warp):
    """What preprocessing makes of a warp: padded, cropped, cropped and padded again."""
    frames = pmtools.frames
    yield warp
    yield warp.then(frames.pad(warp.target_hw, left=5, top=3, right=2))
    yield frames.pad_to_square(warp.source_hw).then(fit_warp(np.eye(4), source_hw=(33, 33)))
    cropped = warp.then(frames.crop(warp.target_hw, (4, 5, 30, 25)))
    yield cropped
    yield cropped.then(frames.pad((20, 26), left=7, bottom=9))


@pytest.mark.parametrize("align_corners", [False, True])
def test_grid_sample_gives_the_linear_image_of_padded_chains(warp, rng, align_corners):
    image = torch.as_tensor(rng.random((1, 2, 24, 33))) + 1
    for chain in chains(warp):
        grid = torch.as_tensor(chain.to_grid_sample(align_corners=align_corners))
        sampled = torch.nn.functional.grid_sample(image, grid, padding_mode="zeros", align_corners=align_corners)
        np.testing.assert_allclose(sampled.numpy(), chain.image(image, antialias=False).numpy(), atol=1e-9)


def test_cv2_maps_give_the_linear_image_of_padded_chains(warp, rng):
    cv2 = pytest.importorskip("cv2")
    image = rng.random((24, 33)).astype(np.float32) + 1
    for chain in chains(warp):
        maps = chain.to_cv2_maps()
        for fill in (0.0, 5.0):
            remapped = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
            np.testing.assert_allclose(remapped, chain.image(image, antialias=False, fill=fill), atol=5e-2)


def test_the_grid_for_half_precision_images_is_the_one_that_is_advised():
    """Stripes of 8 pixels whose values half precision holds exactly."""
    warp = fit_warp(np.eye(8)[::-1], source_hw=(256, 1024))
    image = (torch.arange(1024) // 8 % 2).to(torch.bfloat16).expand(1, 1, 256, 1024)
    grid = torch.as_tensor(warp.to_grid_sample())
    wanted = warp.image(image.float(), antialias=False)
    advised = torch.nn.functional.grid_sample(image.float(), grid.float(), padding_mode="zeros", align_corners=False)
    np.testing.assert_allclose(advised.numpy(), wanted.numpy(), atol=1e-3)
    cast = torch.nn.functional.grid_sample(
        image.float(), grid.bfloat16().float(), padding_mode="border", align_corners=False
    )
    assert (cast - wanted).abs().mean() > 0.02  # what was advised before


# --------------------------------------------------------------------------- coordinates, masks and maps as people have them

PHOTO = np.arange(80 * 100, dtype=np.uint8).reshape(80, 100)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"boxes": [30, 30, 10, 10]}, r"`boxes` must hold x0.*at 0; of x, y, width, height make corners"),
        ({"boxes": [[1, 2, 30, 40], [200, 1, 210, 2]]}, r"`boxes` must touch the image.*\[200.0.* at 1"),
        ({"boxes": [0.1, 0.1, 0.5, 0.5]}, r"`boxes` must be in pixels.*multiply by \(width, height, width, height\)"),
        ({"boxes": [[1, 2, 3, 4, 0.9]]}, r"`boxes` must have shape.*\(1, 5\).*array\[\.\.\., :4\]"),
        ({"boxes": [[[1, 2], [3, 4]]]}, r"`boxes`.*reshape\(-1, 4\)"),
        ({"boxes": [{"x0": 1}]}, r"`boxes` must be an array of numbers, got list \[\{'x0': 1\}\]; .*plain numbers"),
        ({"boxes": torch.ones(4, requires_grad=True)}, r"`boxes` must not require gradients.*boxes\.detach"),
        ({"points": [[1, 2], [-5, 3]]}, r"`points` must lie in the image.*\[-5.0, 3.0\] at 1"),
        ({"points": [float("nan"), 3]}, r"`points` must be finite; got \[nan, 3.0\] at 0"),
        ({"points": [0.5, 0.25]}, r"`points` must be in pixels.*multiply by \(width, height\)"),
        ({"mask": np.full((80, 100), np.nan)}, r"`mask` must not hold NaN"),
        ({"mask": np.ones((80, 100)) * 1j}, r"`mask` must hold real numbers"),
        ({"mask": np.ones((2, 80, 100))}, r"`mask` must have the height.*one mask"),
    ],
)
def test_what_to_magnify_is_refused_by_the_name_it_came_by(given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        magnify(PHOTO, **given)


def test_boxes_without_an_area_count_like_narrow_ones():
    thin = pmtools.heatmaps.from_boxes([20, 30, 20, 50], source_hw=(80, 100))
    np.testing.assert_array_equal(thin, pmtools.heatmaps.from_boxes([19.5, 30, 20.5, 50], source_hw=(80, 100)))
    corner = pmtools.heatmaps.from_boxes([100, 80, 100, 80], source_hw=(80, 100))
    assert corner.argmax() == corner.size - 1
    with pytest.raises(ValueError, match=r"must touch the image.*\[101"):
        pmtools.heatmaps.from_boxes([101, 1, 101, 5], source_hw=(80, 100))


def test_lists_of_tensors_stay_tensors(warp):
    rows = [torch.tensor([3.0, 4.0], requires_grad=True), torch.tensor([5.0, 6.0])]
    found = warp.points(rows)
    torch.testing.assert_close(found, warp.points(torch.stack(rows)))
    assert found.requires_grad
    with pytest.raises(TypeError, match="`points_xy` must be an array, got a list of Tensors of other shapes"):
        warp.points([torch.zeros(2), torch.zeros(3)])
    with pytest.raises(TypeError, match="`points_xy` must be an array, got a list NumPy cannot stack"):
        warp.points([[rows[0][0], 2.0]])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x.to_sparse(), r"dense tensor.*sparse_coo; give .*\.to_dense"),
        (lambda x: torch.nested.nested_tensor([x]), "dense tensor, got a nested tensor; give one tensor"),
        (lambda x: x.to(torch.float8_e4m3fn), r"16 bits or more, got dtype torch\.float8.*\.to\(torch.float32\)"),
        (lambda x: x.to("meta"), 'must hold values, got a tensor on the device "meta"; load it'),
    ],
)
def test_tensors_that_cannot_be_read_are_refused(heatmap, make, message):
    with pytest.raises(TypeError, match="`image` must.*" + message.removeprefix("must")):
        magnify(make(torch.rand(3, 24, 33)), heatmap)
    with pytest.raises(TypeError, match="`heatmap` must.*" + message.removeprefix("must")):
        fit_warp(make(torch.as_tensor(heatmap)), source_hw=(24, 33))


def test_numbers_of_a_coloured_palette_are_no_heatmap(heatmap):
    grey = Image.fromarray((heatmap * 255).astype(np.uint8))
    assert fit_warp(grey.convert("P"), source_hw=(24, 33)) == fit_warp(grey, source_hw=(24, 33))
    painted = grey.copy()
    painted.putpalette([0, 0, 255] * 255 + [255, 0, 0])
    with pytest.raises(ValueError, match=r"`heatmap` must be 2-D.*mode P"):
        fit_warp(painted, source_hw=(24, 33))
    assert pmtools.heatmaps.from_mask(painted, grid_hw=(6, 8)).max() == 255  # labels are numbers


@pytest.mark.parametrize("value", ["no", None, 2, 0.0])
def test_words_are_no_flags(heatmap, warp, value):
    with pytest.raises(TypeError, match="`equal_peaks` must be True or False, got"):
        fit_warp(heatmap, source_hw=(24, 33), equal_peaks=value)
    with pytest.raises(TypeError, match="`antialias` must be True or False, got"):
        warp.image(np.zeros((24, 33)), antialias=value)


def test_a_choice_names_the_nearest_one(heatmap):
    with pytest.raises(ValueError, match="got 'MAX'; did you mean 'max'"):
        fit_warp(heatmap, source_hw=(24, 33), marginal="MAX")
