"""The processor of every method beside the model's own: what is done with one can be done with the other."""

import base64
import copy
import http.server
import io
import pathlib
import pickle
import sys
import threading
from functools import cache

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tiny import model_of, picture, processor_of
from tiny_magnifier import GREEDY, UNIFORM, magnifier, plain, run, same
from transformers import ProcessorMixin

from pmtools.adapters.layouts import image_token_layout
from pmtools.adapters.pixels import encode, encode_fused
from pmtools.adapters.prompts import Prompts
from pmtools.adapters.source_images import SourceImages
from pmtools.adapters.tokenizing import _TOKENIZING
from pmtools.decoding import METHODS, PerceptionMagnifier
from pmtools.decoding._processor import check_family
from pmtools.testing.models import tiny_processor
from pmtools.testing.models.processor import image_mark

#: One of each way to lay out an image, by real processors that load without torchvision.
FAMILIES = ("llava", "llava_next", "llava_onevision", "qwen2_vl", "internvl", "idefics3", "gemma3", "paligemma")
SQUARE, OTHER = picture(90, 90, 1), picture(64, 64, 2)
SHORT = {"do_sample": False, "max_new_tokens": 3}


def texts(family="llava"):
    return [f"Is {image_mark(family)} there?", f"What is {image_mark(family)} then, and why?"]


def made(processor, family="llava", images=((SQUARE,), (OTHER,)), text=None, **options):
    images = [list(row) for row in images]
    return processor(images=images, text=text or texts(family), return_tensors="pt", padding=True, **options)


def answered(inputs, family="llava", **options):
    return model_of(family).generate(**inputs, **{**SHORT, **options})


def without_sources(inputs):
    return {name: value for name, value in inputs.items() if name not in ("pm_images", "labels")}


def equal(got, want):
    assert set(got) - {"pm_images"} == set(want)
    for name in want:
        assert torch.equal(torch.as_tensor(got[name]), torch.as_tensor(want[name])), name


# ------------------------------------------------------------------------------------------- what is done with inputs

IDIOMS = {
    "to": lambda inputs: inputs.to("cpu"),
    "to device and dtype": lambda inputs: inputs.to("cpu", torch.float32),
    "to dtype": lambda inputs: inputs.to(dtype=torch.float32),
    "one by one": lambda inputs: {name: value.to("cpu") for name, value in inputs.items()},
    "one by one, without waiting": lambda inputs: {
        name: value.to("cpu", non_blocking=True) for name, value in inputs.items()
    },
    "floats by torch": lambda inputs: {
        name: value.to("cpu", torch.float32) if torch.is_floating_point(value) else value.to("cpu")
        for name, value in inputs.items()
    },
    "floats by method": lambda inputs: {
        name: value.to(torch.float32) if value.is_floating_point() else value for name, value in inputs.items()
    },
    "floats by dtype": lambda inputs: {
        name: value.to(torch.float32) if value.dtype.is_floating_point else value for name, value in inputs.items()
    },
    "to the processor": lambda inputs: {name: value.cpu().contiguous() for name, value in inputs.items()},
    "shapes": lambda inputs: [
        {name: (value.shape, value.dtype, value.device) for name, value in inputs.items()},
        inputs,
    ][1],
    "a dictionary": lambda inputs: dict(inputs),
    "a copy": copy.copy,
    "a deep copy": copy.deepcopy,
    "pickled": lambda inputs: pickle.loads(pickle.dumps(inputs)),
    "turned into tensors again": lambda inputs: inputs.convert_to_tensors("pt"),
    "first rows": lambda inputs: {name: value[:1] for name, value in inputs.items()},
    "clones": lambda inputs: {name: value.clone() for name, value in inputs.items()},
    "shuffled": lambda inputs: {name: value[[1, 0]] for name, value in inputs.items()},
    "shuffled by a tensor": lambda inputs: {name: value[torch.tensor([1, 0, 0])] for name, value in inputs.items()},
    "masked": lambda inputs: {name: value[torch.tensor([False, True])] for name, value in inputs.items()},
    "several samples": lambda inputs: {name: value.repeat_interleave(2, dim=0) for name, value in inputs.items()},
    "several samples by torch": lambda inputs: {
        name: torch.repeat_interleave(value, torch.tensor([1, 2]), 0) for name, value in inputs.items()
    },
    "one, with its axis again": lambda inputs: {name: value[1][None] for name, value in inputs.items()},
    "one, squeezed": lambda inputs: {name: value[:1].squeeze(0).unsqueeze(0) for name, value in inputs.items()},
    "repeated": lambda inputs: {name: value[1:].repeat(2, *[1] * (value.ndim - 1)) for name, value in inputs.items()},
    "expanded": lambda inputs: {name: value[1:].expand(3, *value.shape[1:]) for name, value in inputs.items()},
    "swapped halves": lambda inputs: {name: torch.cat(value.chunk(2)[::-1]) for name, value in inputs.items()},
    "split and joined": lambda inputs: {name: torch.cat(torch.split(value, 1)) for name, value in inputs.items()},
    "stacked": lambda inputs: {name: torch.stack([value[1], value[0]]) for name, value in inputs.items()},
    "selected": lambda inputs: {name: value.index_select(0, torch.tensor([1])) for name, value in inputs.items()},
    "flipped": lambda inputs: {name: torch.flip(value, [0]) for name, value in inputs.items()},
    "last by size": lambda inputs: {name: value[value.size(0) - 1 :] for name, value in inputs.items()},
    "questions": lambda inputs: {
        name: value
        for name, value in inputs.items()
        if value.dim() and value.numel() and not (value.is_cuda or value.requires_grad or torch.is_complex(value))
    },
}


@pytest.mark.parametrize("idiom", IDIOMS)
def test_inputs_bear_what_is_done_to_transformers_own(idiom):
    pm = magnifier(heatmap=UNIFORM)
    options = {"do_normalize": False}  # travels along
    got = answered(IDIOMS[idiom](made(pm.processor, **options)), custom_generate=pm)
    assert torch.equal(got, answered(IDIOMS[idiom](made(processor_of(), **options))))


def test_a_loader_gives_them_on():
    pm = magnifier(heatmap=UNIFORM)
    items = [{"image": SQUARE, "text": texts()[0]}, {"image": OTHER, "text": texts()[1]}]

    def collated(rows):
        return made(pm.processor, images=[[row["image"]] for row in rows], text=[row["text"] for row in rows])

    (batch,) = torch.utils.data.DataLoader(items, batch_size=2, collate_fn=collated)
    assert torch.equal(answered(batch, custom_generate=pm), answered(made(processor_of())))


@pytest.mark.parametrize("one", [lambda value: value.squeeze(0), lambda value: value[0]])
@pytest.mark.parametrize(
    "workers", [{}, pytest.param({"num_workers": 1, "multiprocessing_context": "spawn"}, marks=pytest.mark.slow)]
)
def test_the_default_collation_makes_batches_of_single_inputs(one, workers):
    """Of a data set that holds inputs without the axis of the batch, as most do."""
    pm, again = magnifier(heatmap=UNIFORM), texts()[0]
    items, want = (
        [
            {name: one(value) for name, value in made(processor, images=[[image]], text=[again], **STATISTICS).items()}
            for image in (SQUARE, OTHER)
        ]
        for processor in (pm.processor, processor_of())
    )
    (batch,) = torch.utils.data.DataLoader(items, batch_size=2, **workers)
    got = answered(batch, custom_generate=pm)
    assert torch.equal(got, answered(torch.utils.data.default_collate(want)))
    assert dict(batch["pm_images"].options).items() >= STATISTICS.items()


LEAVE = r"`pm_images` can be moved.*got '{}'; leave `pm_images` as it is"
AXIS = r"`pm_images` must have one axis, that of the prompts, got the shape \(2, 1\) from '{}'.*squeeze\(0\)"


@pytest.mark.parametrize(
    ("done", "error", "words"),
    [
        (lambda value: value.mean(), AttributeError, LEAVE.format("mean")),
        (lambda value: torch.add(value, 1), TypeError, LEAVE.format("torch.add")),
        (lambda value: torch.cat([value, torch.ones(1)]), TypeError, "`pm_images` must be joined with `pm_images`"),
        (lambda value: torch.utils.data.default_collate([value, value]), ValueError, AXIS.format("stack")),
        (lambda value: value.repeat(2, 1), ValueError, AXIS.format("repeat")),
        (lambda value: type(value[0])(iter(value[0]))[None], ValueError, "`pm_images` must know the options"),
    ],
)
def test_what_is_not_done_with_images(done, error, words):
    with pytest.raises(error, match=words):
        done(made(magnifier().processor, images=[[SQUARE]], text=texts()[:1])["pm_images"])


def test_the_models_forward_pass_takes_them():
    got = model_of()(**without_sources(made(magnifier().processor))).logits
    assert torch.equal(got, model_of()(**made(processor_of())).logits)


def test_rows_made_with_different_options_are_no_batch():
    pm = magnifier()
    parts = [made(pm.processor, do_normalize=flag)["pm_images"] for flag in (True, False)]
    with pytest.raises(ValueError, match="`pm_images` must have been made with the same options"):
        SourceImages.joined(parts)


# -------------------------------------------------------------------------------------------------- images of all kinds


def as_bytes(image):
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def served():
    """The address of a picture on a server of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/square.png" else 404)
            self.end_headers()
            self.wfile.write(as_bytes(SQUARE) if self.path == "/square.png" else b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/square.png"
        server.shutdown()
        thread.join()


class Address:
    """As httpx, yarl and pydantic have them."""

    def __init__(self, text):
        self.text, self.scheme = text, text.partition(":")[0]

    def __str__(self):
        return self.text


def forms(folder, address):
    """A picture in every form: as transformers' processors take it, and as ours does beyond."""
    path = pathlib.Path(folder, "square.png")
    path.write_bytes(as_bytes(SQUARE))
    encoded = base64.b64encode(as_bytes(SQUARE)).decode()
    values = np.asarray(SQUARE)
    theirs = {
        "path": str(path),
        "url": address,
        "base64": encoded,
        "data url": f"data:image/png;base64,{encoded}",
        "pil": SQUARE,
        "numpy": values,
        "numpy, channels first": values.transpose(2, 0, 1).copy(),
        "tensor": torch.from_numpy(values.copy()).permute(2, 0, 1),
        "list": [SQUARE],
        "list of lists": [[str(path)]],
        "tuple": (SQUARE,),
        "batch of tensors": torch.from_numpy(values.copy()).permute(2, 0, 1)[None],
    }
    ours = {"path object": path, "url object": Address(address)}
    return theirs, ours


@pytest.mark.parametrize("kind", [*forms("/tmp", "")[0], *forms("/tmp", "")[1]])
def test_images_of_all_kinds(kind, tmp_path, served):
    theirs, ours = forms(tmp_path, served)
    want = processor_of()(images=theirs.get(kind, SQUARE), text=texts()[0], return_tensors="pt")
    pm = magnifier(heatmap=UNIFORM)
    got = pm.processor(images={**theirs, **ours}[kind], text=texts()[0], return_tensors="pt")
    equal(got, want)
    assert torch.equal(answered(got, custom_generate=pm), answered(want))
    beside = answered(want, custom_generate=pm, images={**theirs, **ours}[kind])
    assert torch.equal(beside, answered(want))


def test_floats_as_torchvision_makes_them():
    """They are not to be rescaled; the 8 bits that the magnifier makes of them are."""
    values = torch.from_numpy(np.asarray(SQUARE).copy()).permute(2, 0, 1).float() / 255
    for options in ({"do_rescale": False}, {"images_kwargs": {"do_rescale": False}}):
        want = processor_of()(images=values, text=texts()[0], return_tensors="pt", **options)
        got = magnifier().processor(images=values, text=texts()[0], return_tensors="pt", **options)
        torch.testing.assert_close(got["pixel_values"], want["pixel_values"], atol=1e-5, rtol=0)
    bytes_kept = magnifier().processor(images=SQUARE, text=texts()[0], return_tensors="pt", do_rescale=False)
    want = processor_of()(images=SQUARE, text=texts()[0], return_tensors="pt", do_rescale=False)
    equal(bytes_kept, want)


def test_where_the_channels_are_can_be_said():
    thin = torch.from_numpy(np.asarray(picture(3, 60)).copy())  # (60, 3, 3)
    for options in ({"input_data_format": "channels_last"}, {"images_kwargs": {"input_data_format": "channels_last"}}):
        rows = magnifier().processor(images=thin, text=texts()[0], return_tensors="pt", **options)["pm_images"].rows
        assert rows[0][0].size == (3, 60)
        np.testing.assert_array_equal(np.asarray(rows[0][0]), thin.numpy())
    with pytest.raises(ValueError, match="`input_data_format` must be one of"):
        magnifier().processor(images=thin, text=texts()[0], return_tensors="pt", input_data_format="middle")


@pytest.mark.parametrize("where", ["missing.png", "http://127.0.0.1:9/x.png", "data:image/png;base64,AAAA", "x" * 200])
def test_what_cannot_be_opened_is_named(where):
    with pytest.raises(ValueError, match=r"`images` must hold images, or paths.*cannot be opened"):
        magnifier().processor(images=where, text=texts()[0], return_tensors="pt")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_list_is_dealt_out_as_the_prompts_name_them(family):
    mark, pm = image_mark(family), magnifier(family, heatmap=UNIFORM)
    asked = [f"Is {mark} there?", f"Like {mark} or {mark}?"]
    want = processor_of(family)(images=[[SQUARE], [OTHER, SQUARE]], text=asked, return_tensors="pt", padding=True)
    got = pm.processor(images=[SQUARE, OTHER, SQUARE], text=asked, return_tensors="pt", padding=True)
    equal(got, want)
    assert [len(row) for row in got["pm_images"]] == [1, 2]


# ------------------------------------------------------------------------------------------------------------- chats


def chat(question, *images):
    content = [{"type": "image", **image} for image in images] + [{"type": "text", "text": question}]
    return [{"role": "user", "content": content}]


CHAT = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["path", "url", "base64", "pil"])
def test_chats_that_name_their_picture(family, kind, tmp_path, served):
    theirs, _ = forms(tmp_path, served)
    part = {"image": theirs["pil"]} if kind == "pil" else {kind: theirs[kind]}
    want = processor_of(family).apply_chat_template(chat("What?", part), **CHAT)
    got = magnifier(family).processor.apply_chat_template(chat("What?", part), **CHAT)
    equal(got, want)
    assert got["pm_images"][0][0].size == SQUARE.size


def test_chats_as_other_services_write_them(served):
    asked = [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": served}}, {"type": "text", "text": "What?"}],
        }
    ]
    equal(magnifier().processor.apply_chat_template(asked, **CHAT), processor_of().apply_chat_template(asked, **CHAT))


def test_a_batch_of_chats():
    pm = magnifier(heatmap=UNIFORM)
    chats = [
        chat("What?", {"image": SQUARE}),
        chat("And how many then?", {"image": OTHER}, {"image": SQUARE}),
        chat("Hello?"),
    ]
    options = {**CHAT, "processor_kwargs": {"padding": True}}
    want = processor_of().apply_chat_template(chats, **options)
    got = pm.processor.apply_chat_template(chats, **options)
    equal(got, want)
    assert torch.equal(answered(got, custom_generate=pm), answered(want))


def test_a_chat_as_text_is_the_models_own():
    asked = chat("What?", {"image": SQUARE})
    assert magnifier().processor.apply_chat_template(asked) == processor_of().apply_chat_template(asked)


def test_a_template_that_calls_its_parent_class():
    """SmolVLM's method calls `super()`, which needs an object of the class."""

    class Child(type(processor_of())):
        def apply_chat_template(self, *arguments, **options):
            return super().apply_chat_template(*arguments, **options)

    child = copy.copy(processor_of())
    child.__class__ = Child
    got = PerceptionMagnifier(child).processor.apply_chat_template(chat("What?", {"image": SQUARE}), **CHAT)
    assert len(got["pm_images"][0]) == 1


# --------------------------------------------------------------------------------------------------- prompts without images


class TestTextOnly:
    @pytest.mark.parametrize("family", [name for name in FAMILIES if name != "paligemma"])  # it takes none
    @pytest.mark.parametrize("asked", ["Hello?", ["Hello?", "What is a cat then?"]])
    def test_no_image_in_a_call(self, family, asked):
        pm = magnifier(family)
        got = pm.processor(text=asked, return_tensors="pt", padding=True)
        want = processor_of(family)(text=asked, return_tensors="pt", padding=True)
        equal(got, want)
        assert torch.equal(answered(got, family, custom_generate=pm), answered(want, family))
        assert torch.equal(answered(want, family, custom_generate=pm), answered(want, family))

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("first", [True, False])
    def test_a_row_without_images(self, family, first):
        order = slice(None) if first else slice(None, None, -1)
        images, asked = [[], [SQUARE]][order], ["Hello, what is a cat?", texts(family)[0]][order]
        pm = magnifier(family)
        got = made(pm.processor, family, images, asked)
        equal(got, made(processor_of(family), family, images, asked))
        row = 0 if first else 1
        plainly = answered(without_sources(got), family)
        modes = [{}, {"refresh": "first"}, {"refresh": "adaptive"}, {"refine": "none", "refresh": "adaptive"}]
        for options in modes if first else modes[:1]:  # when maps are made has nothing to do with where the row stands
            answer = answered(got, family, custom_generate=magnifier(family, **options))
            assert torch.equal(answer[row], plainly[row]), options
        uniform = answered(got, family, custom_generate=magnifier(family, heatmap=UNIFORM))
        assert torch.equal(uniform, plainly)

    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_answers_them(self, method):
        decoder, model = METHODS[method](processor_of()), model_of()
        want = METHODS["greedy"](processor_of()).generate(model, None, "Hello?", **SHORT)
        assert decoder.generate(model, None, "Hello?", **SHORT) == want
        assert decoder.generate(model, [], "Hello?", **SHORT) == want
        answers = decoder.generate(model, [[], [SQUARE]], ["Hello?", "What?"], **SHORT)
        assert answers[0] == want

    def test_beams_and_samples(self):
        got = made(magnifier().processor, images=[[], [SQUARE]], text=["Hello, what is a cat?", texts()[0]])
        plainly = answered(without_sources(got), num_beams=2)
        assert torch.equal(answered(got, custom_generate=magnifier(heatmap=UNIFORM), num_beams=2), plainly)
        alone = magnifier().processor(text="Hello?", return_tensors="pt")
        answer = answered(alone, custom_generate=magnifier(), num_beams=2, num_return_sequences=2)
        assert torch.equal(answer, answered(without_sources(alone), num_beams=2, num_return_sequences=2))


# --------------------------------------------------------------------------------------------------------- pipelines


class TestPipelines:
    def piped(self, processor, *arguments, method=None, **options):
        pipe = transformers.pipeline("image-text-to-text", model=model_of(), processor=processor)
        settings = {**SHORT, **({} if method is None else {"custom_generate": method})}
        return pipe(*arguments, return_full_text=False, generate_kwargs=settings, **options)

    @pytest.mark.parametrize("batch_size", [1, 2, 3])
    @pytest.mark.parametrize("kinds", ["pictures", "words"])
    def test_chats(self, batch_size, kinds):
        images = [[{"image": SQUARE}], [{"image": OTHER}], [{"image": SQUARE}]] if kinds == "pictures" else [[], [], []]
        chats = [chat(text, *row) for text, row in zip(["What?", "And why is it?", "How?"], images, strict=True)]
        pm = magnifier(heatmap=UNIFORM)
        got = self.piped(pm.processor, text=chats, batch_size=batch_size, method=pm)
        assert got == self.piped(processor_of(), text=chats, batch_size=batch_size)

    @pytest.mark.parametrize("asked", [texts()[0], texts()])
    def test_images_and_texts(self, asked, tmp_path):
        path = tmp_path / "square.png"
        SQUARE.save(path)
        images = str(path) if isinstance(asked, str) else [str(path), OTHER]
        pm = magnifier(heatmap=UNIFORM)
        assert self.piped(pm.processor, images=images, text=asked, method=pm) == self.piped(
            processor_of(), images=images, text=asked
        )

    def test_options_of_the_processor(self):
        pm, asked = magnifier(heatmap=UNIFORM), chat("What?", {"image": SQUARE})
        options = {"processor_kwargs": {"do_normalize": False}}
        got = self.piped(pm.processor, text=[asked, asked], batch_size=2, method=pm, **options)
        assert got == self.piped(processor_of(), text=[asked, asked], batch_size=2, **options)

    def test_the_magnifier_is_at_work(self):
        pm = magnifier()
        self.piped(pm.processor, text=[chat("What?", {"image": SQUARE})] * 2, batch_size=2, method=pm)
        assert [len(row) for row in pm.last[0].warps] == [1, 1]


# --------------------------------------------------------------------------------------------------- options of a call

STATISTICS = {"image_mean": [0.1] * 3, "image_std": [0.9] * 3}
OPTIONS = {
    "llava": [
        {"do_normalize": False},
        STATISTICS,
        {"images_kwargs": STATISTICS},
        {"do_rescale": False},
        {"resample": 0},
        {"size": {"shortest_edge": 70}},
        {"do_center_crop": False, "size": {"height": 56, "width": 56}},
        {"rescale_factor": 1 / 200, "text_kwargs": {"add_special_tokens": False}},
        {"common_kwargs": {"return_tensors": "pt"}, "images_kwargs": {"do_normalize": False}},
    ],
    "llava_next": [STATISTICS],
    "qwen2_vl": [
        STATISTICS,
        {"size": {"shortest_edge": 28 * 28, "longest_edge": 4 * 28 * 28}},
        {"images_kwargs": {"size": {"shortest_edge": 30 * 28 * 28, "longest_edge": 40 * 28 * 28}}},
    ],
    "internvl": [STATISTICS, {"max_patches": 2}, {"crop_to_patches": False}],
    "idefics3": [STATISTICS, {"do_image_splitting": False}, {"size": {"longest_edge": 56}}],
    "gemma3": [STATISTICS, {"do_convert_rgb": True}],
    "paligemma": [{"do_normalize": False}, STATISTICS],
}


@pytest.mark.parametrize(
    ("family", "options"), [(family, options) for family, kinds in OPTIONS.items() for options in kinds]
)
def test_what_made_the_inputs_makes_the_magnified_pixels(family, options):
    pm = magnifier(family, heatmap=UNIFORM)
    images = [[SQUARE], [OTHER]]
    got = made(pm.processor, family, images, **options)
    equal(got, made(processor_of(family), family, images, **options))
    same(
        answered(got, family, custom_generate=pm, **GREEDY),
        answered(without_sources(got), family, **GREEDY),
    )
    again = Prompts.from_inputs(model_of(family), pm.processor, got).pixels()
    assert again
    for name, value in again.items():
        assert torch.equal(value, got[name]), name


@pytest.mark.parametrize(
    ("family", "options"),
    [(family, {"resample": 0}) for family in ("janus", "deepseek_vl", "deepseek_vl_hybrid")] + [("janus", STATISTICS)],
)
def test_what_a_constructor_derives_from_options_is_none_of_them(family, options):
    """The colour of padding from the mean; a resampling of 0 is as good as none to these."""
    wide = picture(120, 90)
    want = processor_of(family)(images=wide, text=texts(family)[0], return_tensors="pt", **options)
    got = magnifier(family).processor(images=wide, text=texts(family)[0], return_tensors="pt", **options)
    equal(got, want)
    again = magnifier(family).processor.made_with(got["pm_images"].options)
    for name, value in again.encode(model_of(family), [[wide]]).items():
        assert torch.equal(value, want[name]), name
    equal(again(images=wide, text=texts(family)[0], return_tensors="pt"), want)


def test_options_that_are_lost_are_seen():
    pm = magnifier(heatmap=UNIFORM)
    got = made(pm.processor, **STATISTICS)
    want = answered(without_sources(got), **GREEDY)
    got["pm_images"] = got["pm_images"].rows
    with pytest.raises(AssertionError):
        same(answered(got, custom_generate=pm, **GREEDY), want)


def test_padding_is_that_of_the_options():
    """A centre that is not cropped needs no square around it."""
    wide = picture(120, 90)
    options = {"do_center_crop": False, "size": {"height": 56, "width": 56}}
    got = magnifier().processor(images=wide, text=texts()[0], return_tensors="pt", **options)
    equal(got, processor_of()(images=wide, text=texts()[0], return_tensors="pt", **options))


def test_options_are_not_remembered():
    pm = magnifier()
    before = processor_of().image_processor.to_dict()
    made(pm.processor, **STATISTICS)
    made(pm.processor, images_kwargs=(mine := {"do_normalize": False}))
    assert mine == {"do_normalize": False}
    assert processor_of().image_processor.to_dict() == before
    equal(made(pm.processor), made(processor_of()))


@pytest.mark.parametrize("options", [STATISTICS, {"do_normalize": False}, {"image_mean": 0.5, "image_std": 0.25}])
@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_fused_pixels_keep_the_options(family, options):
    """Close to the processor's: one rounding and one resampling fewer."""
    processor = magnifier(family).processor.made_with(options)
    model, pixels = model_of(family), torch.from_numpy(np.asarray(SQUARE).copy()).permute(2, 0, 1).float()
    layout = Prompts.from_inputs(model, processor, made(processor, family)).layout
    warp = magnifier(family, heatmap=UNIFORM)
    run(warp, family, [[SQUARE]], [texts(family)[0]], max_new_tokens=1)
    identity = warp.last[0].warps[0][0]
    fused = encode_fused(model, processor.image_processor, layout, [pixels], [identity])["pixel_values"]
    want = encode(model, processor.inner, [[SQUARE]], options)["pixel_values"]
    assert fused.shape == want.shape
    step = 1 / 255 / float(np.min(options.get("image_std", 0.26 if options.get("do_normalize", True) else 1.0)))
    assert float((fused - want).abs().mean()) < 4 * step


@pytest.mark.parametrize("option", [{"resample": 0}, {"images_kwargs": {"resample": 0}}, {"do_pad": True}])
def test_fused_pixels_refuse_what_they_cannot_keep(option):
    pm = magnifier(preprocess="fused")
    with pytest.raises(ValueError, match=r"preprocess='fused' resamples once.*use preprocess='processor'"):
        answered(made(pm.processor, **option), custom_generate=pm)


def test_the_whole_processor_makes_the_pixels():
    """What a processor sets beyond its image processor's configuration holds for magnified images too."""
    own = copy.copy(processor_of("internvl"))
    own.image_processor = copy.copy(own.image_processor)
    own.image_processor.crop_to_patches = False  # as the published configurations have it; the processor sets it
    inputs = made(PerceptionMagnifier(own).processor, "internvl", [[picture(120, 60)], [SQUARE]])
    assert inputs["pm_images"].options["crop_to_patches"] is True
    pixels = encode(model_of("internvl"), own, inputs["pm_images"].rows)
    assert torch.equal(pixels["pixel_values"], inputs["pixel_values"])
    bare = own.image_processor(images=inputs["pm_images"].rows, return_tensors="pt")["pixel_values"]
    assert bare.shape != inputs["pixel_values"].shape
    images = [[picture(120, 60)], [SQUARE]]
    beside = answered(
        made(own, "internvl", images),
        "internvl",
        custom_generate=PerceptionMagnifier(own, heatmap=UNIFORM),
        images=images,
    )
    assert torch.equal(beside, answered(made(own, "internvl", images), "internvl"))


# ------------------------------------------------------------------------ pixels of the model's own processor, and images

FLOATS = np.asarray(SQUARE) / np.float32(255)
DEEP = (np.arange(90 * 90).reshape(90, 90) * 8).astype(np.uint16)


def beside(family, made_from, images=None, dtype=None, **options):
    inputs = processor_of(family)(images=[[made_from]], text=texts(family)[:1], return_tensors="pt", **options)
    inputs["pixel_values"] = torch.as_tensor(inputs["pixel_values"]).to(dtype)
    images = [[made_from]] if images is None else images
    return Prompts.from_inputs(model_of(family), magnifier(family).processor, inputs, images=images)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "idefics3", "gemma3", "internvl"])
@pytest.mark.parametrize(
    ("made_from", "options"),
    [
        (SQUARE, {"do_normalize": False}),
        (SQUARE, {"do_rescale": False}),
        (SQUARE, {"resample": 0}),
        (SQUARE, {"images": [[picture(90, 90, 3)]]}),
        (FLOATS, {}),
        (Image.fromarray(DEEP), {}),
    ],
    ids=["not normalised", "not rescaled", "nearest", "another image", "floats", "16 bits"],
)
def test_pixels_that_the_images_do_not_make_are_refused(family, made_from, options):
    with pytest.raises(
        ValueError, match=r"^`images` must make the 'pixel_values'.*make the inputs with `pm.processor`"
    ):
        beside(family, made_from, **options)


def test_a_call_compares_pixels_before_they_become_features():
    own, pm = processor_of("llava"), magnifier()
    options = {"text": texts("llava")[:1], "return_tensors": "pt"}
    images = [[SQUARE]]
    ids = pm.generate_ids(model_of("llava"), **own(images=images, **options), images=images, **SHORT)
    assert torch.equal(ids, pm.generate_ids(model_of("llava"), **pm.processor(images=images, **options), **SHORT))
    with pytest.raises(ValueError, match=r"^`images` must make the 'pixel_values'"):
        pm.generate_ids(model_of("llava"), **own(images=images, do_normalize=False, **options), images=images, **SHORT)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "idefics3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pixels_that_are_only_rounded_are_not(family, dtype):
    assert beside(family, SQUARE, dtype=dtype).images[0][0].size == (90, 90)
    assert beside(family, FLOATS, dtype=dtype, do_rescale=False).images[0][0].size == (90, 90)


def test_pixels_that_a_larger_batch_was_padded_to_are_not_compared():
    images, family = [[picture(120, 60)], [picture(50, 50)]], "idefics3"
    first = {name: value[:1] for name, value in made(processor_of(family), family, images).items()}
    got = Prompts.from_inputs(model_of(family), magnifier(family).processor, first, images=images[:1])
    assert first["pixel_values"].shape != got.pixels()["pixel_values"].shape


# --------------------------------------------------------------------------------------------------------- tokenizer


@cache
def right_padding(family="llava"):
    processor = tiny_processor(model_of(family))
    processor.tokenizer.padding_side = "right"
    return processor


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["pt", "np", None])
def test_padding_is_on_the_left_whatever_the_tokenizer_says(family, kind):
    def inputs(processor):
        return processor(images=[[SQUARE], [OTHER]], text=texts(family), padding=True, return_tensors=kind)

    got, want = inputs(magnifier(family).processor), inputs(PerceptionMagnifier(right_padding(family)).processor)
    assert set(got) == set(want)
    for name in set(got) - {"pm_images"}:
        np.testing.assert_array_equal(np.asarray(got[name]), np.asarray(want[name]), err_msg=name)
    assert right_padding(family).tokenizer.padding_side == "right"


def test_padding_to_a_length():
    pm = PerceptionMagnifier(right_padding())
    got = pm.processor(
        images=SQUARE,
        text=texts()[0],
        return_tensors="pt",
        padding="max_length",
        max_length=64,
        return_special_tokens_mask=True,
    )
    assert got["input_ids"].shape == got["special_tokens_mask"].shape == (1, 64)
    length = int(got["attention_mask"].sum())
    assert got["attention_mask"][0].tolist() == [0] * (64 - length) + [1] * length
    pad = pm.processor.tokenizer.pad_token_id
    assert set(got["input_ids"][0, : 64 - length].tolist()) == {pad}


@pytest.fixture
def restless():
    """Threads take turns so often that what they share without a lock is seen to break."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless")
def test_threads_do_not_disturb_each_other_or_the_tokenizer():
    pm, tokenizer = PerceptionMagnifier(right_padding()), right_padding().tokenizer
    want = [made(pm.processor, text=[f"{'x' * n} <image>", "<image>"])["input_ids"].tolist() for n in range(6)]
    found, sides = [[] for _ in want], set()

    def work(n):
        for turn in range(12):
            if turn % 3:
                found[n].append(made(pm.processor, text=[f"{'x' * n} <image>", "<image>"])["input_ids"].tolist())
            else:
                pm.processor(images=SQUARE, text="<image> once", return_tensors="pt")  # without padding
            sides.add(tokenizer.padding_side)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(want))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[ids] * 8 for ids in want]
    assert sides == {"right"}


@pytest.mark.parametrize(
    "door",
    [
        lambda model, processor: made(processor),
        lambda model, processor: image_token_layout(model, processor).grids((61, 83), 1),
        lambda model, processor: Prompts.from_inputs(model, processor, made(processor)).questions(),
    ],
    ids=["a call", "a picture of a new size", "a question"],
)
def test_no_text_becomes_tokens_out_of_turn(door, monkeypatch):
    own, held = tiny_processor(model_of()), []

    def noticed(self, *arguments, **options):
        held.append(_TOKENIZING.locked())
        return tokenized(self, *arguments, **options)

    kind = type(own.tokenizer)
    tokenized = kind._encode_plus  # behind every method that sets a call's padding
    monkeypatch.setattr(kind, "_encode_plus", noticed)
    door(model_of(), PerceptionMagnifier(own).processor)
    assert held
    assert all(held)
    own.tokenizer("Hello")  # out of turn, and seen
    assert not held[-1]


# ---------------------------------------------------------------------------------------------- a processor among others


class TestStandsIn:
    def test_it_is_one_to_who_asks(self):
        processor = magnifier().processor
        assert isinstance(processor, ProcessorMixin)
        assert isinstance(processor, type(processor_of()))

    @pytest.mark.parametrize(
        "name", ["model_input_names", "image_token", "image_token_id", "chat_template", "patch_size"]
    )
    def test_attributes(self, name):
        assert getattr(magnifier().processor, name) == getattr(processor_of(), name)

    def test_an_attribute_that_it_lacks(self):
        with pytest.raises(AttributeError, match="no_such_thing"):
            _ = magnifier().processor.no_such_thing

    def test_attributes_that_are_set_are_the_models_own(self):
        own = copy.copy(processor_of())
        processor = PerceptionMagnifier(own).processor
        processor.chat_template = "{{ messages[0]['content'][1]['text'] }}!"
        assert own.chat_template == processor.chat_template
        assert processor.apply_chat_template(chat("What?", {"image": SQUARE})) == "What?!"
        del processor.chat_template
        assert not hasattr(own, "chat_template")

    def test_texts(self):
        ids = made(processor_of())["input_ids"]
        processor = magnifier().processor
        assert processor.batch_decode(ids) == processor_of().batch_decode(ids)
        assert processor.decode(ids[0]) == processor_of().decode(ids[0])
        got = processor.post_process_image_text_to_text(ids)
        assert got == processor_of().post_process_image_text_to_text(ids)

    def test_saved_and_loaded_again(self, tmp_path):
        magnifier().processor.save_pretrained(tmp_path / "ours")
        processor_of().save_pretrained(tmp_path / "own")
        names = sorted(path.name for path in (tmp_path / "own").iterdir())
        assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == names
        for name in names:
            assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "own" / name).read_bytes()

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda item: pickle.loads(pickle.dumps(item))])
    def test_copies(self, copied):
        processor = magnifier().processor.made_with({"do_normalize": False})
        again = copied(processor)
        assert type(again) is type(processor)
        equal(made(again), made(processor_of(), do_normalize=False))

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda item: pickle.loads(pickle.dumps(item))])
    def test_copies_of_a_method(self, copied):
        pm = copied(magnifier(heatmap=UNIFORM))
        assert torch.equal(answered(made(pm.processor), custom_generate=pm), answered(made(processor_of())))


class TestFamily:
    def test_a_class_of_another_name_that_writes_the_same_tokens(self):
        kind = type("Another", (transformers.LlavaNextProcessor,), {})
        own = copy.copy(processor_of())
        own.__class__ = kind
        check_family(model_of(), PerceptionMagnifier(own).processor)

    @pytest.mark.parametrize("family", [*FAMILIES, "ovis2", "aya_vision", "janus"])
    def test_the_models_own(self, family):
        check_family(model_of(family), magnifier(family).processor)

    def test_a_token_that_is_called_otherwise(self):
        """What Gemma 3 calls its image token begins an image."""
        assert processor_of("gemma3").image_token_id != model_of("gemma3").config.image_token_id

    def test_another_token(self):
        own = tiny_processor(model_of())
        model = copy.copy(model_of())
        model.config = copy.deepcopy(model.config)
        model.config.image_token_id = 99
        with pytest.raises(ValueError, match=r"must mark images by token 99.*got 4; load both from the same place"):
            check_family(model, PerceptionMagnifier(own).processor)


# ----------------------------------------------------------------------------------------------------- what was broken


@pytest.mark.parametrize("size", [(120, 90), (400, 100), (60, 300)])
def test_tiles_that_a_batch_fills_up_are_no_square(size):
    """Idefics3 sets `do_pad` for its batches of tiles: nothing is cropped, so nothing is padded."""
    image, family = picture(*size), "idefics3"
    pm = magnifier(family, heatmap=UNIFORM)
    got = pm.processor(images=[[image]], text=texts(family)[:1], return_tensors="pt")
    equal(got, processor_of(family)(images=[[image]], text=texts(family)[:1], return_tensors="pt"))
    assert torch.equal(answered(got, family, custom_generate=pm), answered(without_sources(got), family))


def test_noise_leaves_the_images_that_fill_up_a_row_alone():
    """A row with fewer tiles is filled up with black images, which the model drops."""
    decoder, family = METHODS["vcd"](processor_of("idefics3")), "idefics3"
    images, asked = [[picture(120, 60)], [picture(50, 50)]], texts(family)
    both = decoder.generate(model_of(family), images, asked, **SHORT)
    assert both == [
        decoder.generate(model_of(family), row, text, **SHORT) for row, text in zip(images, asked, strict=True)
    ]


def test_plain_is_seen_to_differ():
    pm = magnifier()
    got, want = run(pm, images=[[SQUARE]], text=texts()[:1]), plain(pm, images=[[SQUARE]], text=texts()[:1])
    with pytest.raises(AssertionError):
        same(got, want)
