"""The plug-ins of vLLM and SGLang in the real packages' Python code, where it is there: `make test-servers`. No GPU, no model."""

from __future__ import annotations

import asyncio
import warnings

import numpy as np
import pytest
from PIL import Image

from pmtools import api
from pmtools.api.marked_urls import read_mark
from pmtools.api.messages import image_part

BOX = [128, 346, 206, 428]
OPTIONS = {"format": "qwen3-vl", "max_pixels": 300_000}


@pytest.fixture(name="picture")
def _picture(astronaut):
    return Image.fromarray(astronaut)


@pytest.fixture(name="url")
def _url(picture):
    return image_part(picture)["image_url"]["url"]


def wanted(picture):
    return np.asarray(api.view(picture, BOX, **OPTIONS).image)


# --------------------------------------------------------------------------------------------------- the marks


@pytest.mark.parametrize(
    "address", ["https://example.com/a.png?x=1", "file:///a%20b.png", "data:image/png;base64,AAAA"]
)
def test_a_mark_is_read_as_it_was_written(address):
    marked = api.mark_url(address, BOX, **OPTIONS, zoom=2.0, units="pixels")
    plain, options = read_mark(marked)
    assert plain == address
    assert options.boxes == [BOX]
    assert (options.format, options.max_pixels, options.zoom, options.units) == ("qwen3-vl", 300_000, 2.0, "pixels")
    assert set(marked[len(address) :]) <= set("#=%[],.+-_~") | set(map(chr, range(48, 58))) | set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    )


def test_no_mark_no_change():
    assert read_mark("https://example.com/a#top") == ("https://example.com/a#top", None)


@pytest.mark.parametrize(
    "mark", ["", "x", "%7B", "[1]", "%7B%22boxes%22%3A%22ask%22%7D", "%7B%7D", "%7B%22path%22%3A1%7D"]
)
def test_a_malformed_mark_is_refused(mark):
    with pytest.raises(ValueError, match="mark of the image's URL"):
        read_mark(f"https://example.com/a.png#pmtools={mark}")


def test_an_answer_about_a_marked_image_is_undone_without_the_image(picture, url):
    marked = api.mark_url(url, BOX, **OPTIONS)
    shown = api.view(picture, BOX, **OPTIONS)
    answer = '{"bbox_2d": [200, 500, 420, 700]}'
    undone = api.undo_marked(answer, marked, source_hw=(512, 512))
    assert undone.text == shown.undo(answer).text != answer
    with pytest.raises(ValueError, match="must have a mark"):
        api.undo_marked(answer, url, source_hw=(512, 512))
    with pytest.raises(ValueError, match="must not have a mark"):
        api.mark_url(marked, BOX)


# --------------------------------------------------------------------------------------------------- vLLM


@pytest.fixture(name="connector")
def _connector():
    media = pytest.importorskip("vllm.multimodal.media", reason="vLLM's Python code: make test-servers")
    from pmtools.plugins import vllm

    vllm.register()
    vllm.register()
    return media.MEDIA_CONNECTOR_REGISTRY.load("pmtools")


def test_vllm_gets_the_magnified_image(connector, picture, url):
    loaded = connector.fetch_image(api.mark_url(url, BOX, **OPTIONS))
    np.testing.assert_array_equal(np.asarray(loaded.media), wanted(picture))
    again = asyncio.run(connector.fetch_image_async(api.mark_url(url, BOX, **OPTIONS)))
    np.testing.assert_array_equal(np.asarray(again.media), wanted(picture))


def test_vllm_gets_other_images_as_they_are(connector, picture, url):
    np.testing.assert_array_equal(np.asarray(connector.fetch_image(url).media), np.asarray(picture))


def test_vllm_keeps_the_two_apart_in_its_caches(connector, url):
    from vllm.multimodal.hasher import MultiModalHasher

    images = [
        connector.fetch_image(address) for address in (url, *(api.mark_url(url, BOX, zoom=z) for z in (2.0, 3.0)))
    ]
    assert len({MultiModalHasher.hash_kwargs("sha256", image=image) for image in images}) == 3


def test_vllm_reads_local_files_by_its_own_rule(connector, tmp_path, picture):
    from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY

    picture.save(tmp_path / "a.png")
    address = api.mark_url((tmp_path / "a.png").as_uri(), BOX, **OPTIONS)
    with pytest.raises(RuntimeError, match="allowed-local-media-path"):
        connector.fetch_image(address)
    allowed = MEDIA_CONNECTOR_REGISTRY.load("pmtools", allowed_local_media_path=str(tmp_path))
    np.testing.assert_array_equal(np.asarray(allowed.fetch_image(address).media), wanted(picture))


def test_vllm_finds_the_plug_in_by_its_entry_point(connector):
    from vllm.plugins import DEFAULT_PLUGINS_GROUP, load_plugins_by_group

    from pmtools.plugins import vllm

    assert load_plugins_by_group(DEFAULT_PLUGINS_GROUP)["pmtools"] is vllm.register


# --------------------------------------------------------------------------------------------------- SGLang


@pytest.fixture(name="processors", scope="module")
def _processors():
    """SGLang's own processors, then ours, as its server loads them; and one that gives what it loads to the test."""
    loaded = pytest.importorskip(
        "sglang.srt.managers.multimodal_processor", reason="SGLang's Python code: make test-servers"
    )
    from sglang.srt.multimodal.processors.base_processor import BaseMultimodalProcessor
    from sglang.srt.utils import load_image

    class Model:
        """An architecture."""

    class Processor(BaseMultimodalProcessor):
        """Loads images as SGLang's processors do."""

        models = (Model,)

        def __init__(self):
            pass

        async def process_mm_data_async(self, image_data, input_text, request_obj, **kwargs):
            return [np.asarray(load_image(item, False)[0].convert("RGB")) for item in image_data], input_text, kwargs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SGLang's modules, which it would leave out for one
        loaded.import_processors("sglang.srt.multimodal.processors")
    before = {model.__name__: processor.__name__ for model, processor in loaded.PROCESSOR_MAPPING.items()}
    loaded.PROCESSOR_MAPPING[Model] = Processor
    loaded.import_processors("pmtools.plugins", overwrite=True)
    return before, {model.__name__: processor for model, processor in loaded.PROCESSOR_MAPPING.items()}


def test_sglang_takes_the_magnified_image(processors, picture, url):
    from sglang.srt.utils import ImageData

    marked = api.mark_url(url, BOX, **OPTIONS)
    items = [marked, ImageData(url=marked, content_hash="of the original"), url, ImageData(url=url)]
    done = processors[1]["Model"]().process_mm_data_async(
        image_data=items, input_text="?", request_obj=None, audio_data=None, max_req_input_len=9
    )
    images, text, rest = asyncio.run(done)
    assert (text, rest) == ("?", {"audio_data": None, "max_req_input_len": 9})
    for image in images[:2]:
        np.testing.assert_array_equal(image, wanted(picture))
    for image in images[2:]:
        np.testing.assert_array_equal(image, np.asarray(picture))


def test_sglang_has_ours_in_the_place_of_each_of_its_own(processors):
    before, after = processors
    assert len(before) > 50
    assert {"QwenVLImageProcessor", "LlavaImageProcessor", "InternVLProcessor"} <= set(before.values())
    for model, name in before.items():
        assert after[model].__module__ == "pmtools.plugins.sglang"
        assert after[model].__name__ == f"Magnifying{name}"
        assert after[model].__mro__[2].__name__ == name
