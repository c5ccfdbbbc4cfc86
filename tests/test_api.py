"""A model behind an API: against transformers' own server with the embedded model, and a stub for formats alone."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from itertools import islice

import numpy as np
import pytest
from chat_stub import chat_stub
from demo_server import started
from PIL import Image

from pmtools import api, zoom_warp
from pmtools.answers import FORMATS, undo
from pmtools.answers.looking import fitted_hw, regions
from pmtools.api import messages
from pmtools.api.views import view

BOX = [318, 395, 366, 440]


@pytest.fixture(scope="module")
def openai():
    return pytest.importorskip("openai", reason="clients need openai: pip install 'pmtools[api]'")


@pytest.fixture
def photo(astronaut):
    return Image.fromarray(astronaut)


def shown_in(body):
    """The image that a request shows."""
    (part,) = [part for part in body["messages"][-1]["content"] if part["type"] == "image_url"]
    return Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))


# ------------------------------------------------------------------------------------------- regions and budgets


@pytest.mark.parametrize("multiple", [1, 28, 32])
@pytest.mark.parametrize("source_hw", [(1080, 1920), (4000, 3000), (100, 70), (300, 3000)])
def test_the_budget_is_kept(source_hw, multiple):
    for max_pixels in (50_000, 300_000, 1_003_520):
        height, width = fitted_hw(source_hw, max_pixels=max_pixels, multiple=multiple)
        assert height * width <= max_pixels
        assert height % multiple == width % multiple == 0
        assert fitted_hw((height, width), max_pixels=max_pixels, multiple=multiple) == (height, width)  # not again


def test_an_image_within_the_budget_is_left_alone(photo):
    shown = view(photo, max_pixels=10_000_000)
    assert np.array_equal(np.asarray(shown.image), np.asarray(photo))


def test_a_box_is_magnified_within_the_budget(photo):
    shown = view(photo, BOX, format="qwen2.5-vl", max_pixels=336 * 336)
    wanted = zoom_warp(BOX, source_hw=(512, 512), target_hw=(336, 336))
    assert shown.image.size == (336, 336)
    np.testing.assert_allclose(shown.warp.boxes(BOX), wanted.boxes(BOX))
    assert shown.warp.report(shown.boxes_xyxy).zoom[0] > 5


def test_boxes_that_leave_no_room_are_a_plain_resize():
    shown = view(np.zeros((301, 499, 3), np.uint8), [0, 0, 499, 20], format="qwen3-vl", max_pixels=40_000)
    assert shown.image.size[0] * shown.image.size[1] <= 40_000


def test_regions_are_boxes_and_what_is_around_points():
    said = undo(
        '{"bbox_2d": [100, 100, 300, 200]}, {"point_2d": [500, 10]}',
        warp=view(np.zeros((100, 200, 3), np.uint8)).warp,
        format="qwen3-vl",
    )
    np.testing.assert_allclose(regions(said, (100, 200)), [[10, 7.5, 70, 22.5], [87.5, 0, 112.5, 7.25]])


# --------------------------------------------------------------------------------------------------- the client


@pytest.mark.parametrize(("units", "scale"), [("pixels", 1), ("fractions", 1 / 512)])
def test_given_boxes_are_magnified_and_answers_come_of_the_original(openai, photo, units, scale):
    said = {}

    def say(body):
        where = said["view"].warp.boxes(BOX) / np.tile(said["view"].image.size, 2) * 1000
        return {"content": f'It is here: {{"bbox_2d": {where.round(2).tolist()}}}.'}

    said["view"] = view(photo, BOX, format="qwen3-vl", max_pixels=200_000)
    with chat_stub(say) as stub, openai.OpenAI(base_url=stub.url, api_key="k") as client:
        reply = api.ask(client, "m", photo, "Where?", boxes=BOX, format="qwen3-vl", max_pixels=200_000, units=units)
    np.testing.assert_allclose(reply.places[0].points_xy.ravel(), BOX, atol=0.01)
    before, _, after = reply.text.partition("[")
    assert before == 'It is here: {"bbox_2d": '
    np.testing.assert_allclose(json.loads("[" + after.removesuffix("}.")), np.multiply(BOX, scale), atol=1e-4)
    assert reply.raw_text != reply.text
    assert reply.message["content"] == reply.text
    assert shown_in(stub.asked[0][2]).size == reply.magnified.size == reply.warp.target_hw[::-1]
    assert np.array_equal(np.asarray(shown_in(stub.asked[0][2])), np.asarray(reply.magnified))
    assert np.array_equal(np.asarray(reply.image), np.asarray(photo))


@pytest.mark.parametrize("boxes", [BOX, "ask"])
def test_answers_in_parts_and_answers_without_a_choice(openai, photo, boxes):
    parts = [{"type": "text", "text": '{"bbox_2d": [100, 100, 200, 200]}'}, {"type": "text", "text": "That is it."}]
    options = {"boxes": boxes, "format": "qwen3-vl"}
    with chat_stub(lambda _: {"content": parts}) as stub, openai.OpenAI(base_url=stub.url, api_key="k") as client:
        reply = api.ask(client, "m", photo, "Where?", **options)
        assert reply.raw_text == "\n".join(part["text"] for part in parts)
        assert len(reply.places) == 1
        assert reply.message["content"][1] == parts[1]
        stub.say = lambda _: '{"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": []}'
        with pytest.raises(ValueError, match="`client` must get a completion with a choice, got none: a filter"):
            api.ask(client, "m", photo, "Where?", **options)


def test_the_client_of_hugging_face(photo):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: pip install 'pmtools[hf]'")

    def say(body):
        call = {
            "id": "1",
            "type": "function",
            "function": {"name": "mark", "arguments": '{"bbox_2d": [0, 0, 500, 500]}'},
        }
        return {"content": '{"bbox_2d": [0, 0, 1000, 1000]}', "tool_calls": [call]}

    with chat_stub(say) as stub:
        client = hub.InferenceClient(base_url=stub.url, api_key="k")
        reply = api.ask(client, "m", photo, "Where?", boxes=BOX, format="qwen3-vl", units="pixels", max_tokens=9)
        stub.say = lambda _: '{"id": "1", "created": 0, "model": "m", "choices": []}'
        with pytest.raises(ValueError, match="`client` must get a completion with a choice, got none"):
            api.ask(client, "m", photo, "Where?", boxes=BOX)
    np.testing.assert_allclose(reply.places[0].points_xy.ravel(), [0, 0, 512, 512], atol=1e-3)
    (call,) = reply.message["tool_calls"]
    half = np.multiply(reply.magnified.size, 0.5)
    found = json.loads(call["function"]["arguments"])["bbox_2d"]
    np.testing.assert_allclose(found[2:], reply.warp.inverse_points(half), atol=0.5)  # whole, as they came
    assert stub.asked[0][2]["max_tokens"] == 9


def test_the_model_is_asked_where_to_look(openai, photo):
    def say(body):
        if FORMATS["gemini"].box_instruction in body["messages"][-1]["content"][1]["text"]:
            y0, x0, y1, x1 = (round(BOX[i] / 512 * 1000) for i in (1, 0, 3, 2))
            return {"content": f'```json\n[{{"box_2d": [{y0}, {x0}, {y1}, {x1}], "label": "badge"}}]\n```'}
        return {"content": "It says COLLINS."}

    with chat_stub(say) as stub, openai.OpenAI(base_url=stub.url, api_key="k") as client:
        reply = api.ask(client, "m", photo, "What does the badge say?", boxes="ask", format="gemini", temperature=0)
    first, second = (body for _, _, body in stub.asked)
    assert "What does the badge say?" in first["messages"][0]["content"][1]["text"]
    assert second["messages"][0]["content"][1]["text"] == "What does the badge say?"
    assert "temperature" in second
    assert "temperature" not in first
    (x0, y0, x1, y1), (low, high) = reply.boxes_xyxy[0], ((BOX[0], BOX[1]), (BOX[2], BOX[3]))
    assert (x0, y0) < low
    assert (x1, y1) > high
    assert reply.warp.report(reply.boxes_xyxy).zoom[0] > 3
    assert reply.text == reply.raw_text == "It says COLLINS."


def test_without_a_region_nothing_is_magnified(openai, photo):
    with (
        chat_stub(lambda body: {"content": "I cannot say."}) as stub,
        openai.OpenAI(base_url=stub.url, api_key="k") as client,
    ):
        asked = api.ask(client, "m", photo, "What is it?", boxes="ask")
        plain = api.ask(client, "m", photo, "What is it?")
    assert len(stub.asked) == 3
    assert np.array_equal(np.asarray(asked.magnified), np.asarray(photo))
    assert np.array_equal(np.asarray(plain.magnified), np.asarray(photo))


def test_tool_calls_are_undone(openai, photo):
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "click", "arguments": '{"x": 250, "y": 250, "times": 2}'},
    }
    with (
        chat_stub(lambda body: {"tool_calls": [call]}) as stub,
        openai.OpenAI(base_url=stub.url, api_key="k") as client,
    ):
        reply = api.ask(client, "m", photo, "Click.", boxes=BOX, format="computer-use")
    assert reply.text == ""
    arguments = json.loads(reply.message["tool_calls"][0]["function"]["arguments"])
    back = reply.warp.inverse_points([250.0, 250.0])
    assert [arguments["x"], arguments["y"]] == back.round().tolist()
    assert arguments["times"] == 2


def test_async_clients_and_their_retries(openai, photo):
    async def ask(url):
        async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=2) as client:
            return await api.ask(client, "m", photo, "Where?", boxes=BOX, format="qwen3-vl")

    with chat_stub(lambda body: {"content": '{"point_2d": [500, 500]}'}) as stub:
        stub.failures = 1
        reply = asyncio.run(ask(stub.url))
    assert len(stub.asked) == 2
    assert json.loads(reply.text)["point_2d"] != [500, 500]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"boxes": "everywhere"}, "`boxes` must be one of 'ask'"),
        ({"stream": True}, "`stream` must be left out"),
        ({"boxes": "ask", "zoom": 2}, "`zoom` must be left out"),
        ({"boxes": [0, 0, 9, 9], "zoom": 1000}, "`zoom` must fit"),
        ({"format": "paligemma", "units": "pixels"}, "`units` must be 'same'"),
        ({"format": "qwen"}, "`format` must be one of"),
        ({"boxes": [900, 900, 950, 950]}, "`boxes_xyxy` must touch the image"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(photo, options, error):
    class Client:
        class chat:
            class completions:
                @staticmethod
                def create(**_):
                    raise AssertionError("sent")

    with pytest.raises(ValueError, match=error):
        api.ask(Client, "m", photo, "Where?", **options)


# --------------------------------------------------------------------------------------- transformers' own server


@pytest.mark.slow
def test_a_real_server_answers_about_the_magnified_image(openai):
    pytest.importorskip("uvicorn", reason="the server needs uvicorn: pip install 'pmtools[serve]'")
    from pmtools import zoo
    from pmtools.decoding import METHODS
    from pmtools.evaluation.scenes import scene_items

    demo = zoo.demo_model()
    pm = METHODS["pm"](demo.processor, **demo.settings)
    with started("serve") as address, openai.OpenAI(base_url=address, api_key="none", timeout=120) as client:
        for item in islice(scene_items(seed=11), 3):
            question, middle = item.question.text, [item.image.width / 2, item.image.height / 2]
            box = [*np.subtract(middle, 20), *np.add(middle, 20)]
            reply = api.ask(client, "demo-model", item.image, question, boxes=box, max_tokens=2, temperature=0.0)
            here = pm.generate(demo.model, reply.magnified, demo.prompt(question), max_new_tokens=2, do_sample=False)
            assert reply.raw_text.strip() == here
            assert reply.text == reply.raw_text
        asked = api.ask(client, "demo-model", item.image, question, boxes="ask", max_tokens=2, temperature=0.0)
        assert len(asked.boxes_xyxy) == 0  # it cannot point, so that nothing is magnified


# --------------------------------------------------------------------------------------------------- messages


def test_images_go_into_messages_and_out_again(photo):
    part = messages.image_part(photo)
    assert np.array_equal(np.asarray(messages.read_image_part(part)), np.asarray(photo))
    talk = [{"role": "user", "content": [part, {"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"}]
    where = messages.last_image(talk)
    assert where == (0, 0)
    changed = messages.with_image(talk, where, photo.resize((20, 20)))
    assert messages.read_image_part(changed[0]["content"][0]).size == (20, 20)
    assert talk[0]["content"][0] == part
    assert messages.last_question(talk) == "a"


@pytest.mark.parametrize(
    "url", ["data:image/png;base64,AAAA", "data:image/png;base64,*", "data:text/plain,hello", "data:"]
)
def test_what_is_no_image_is_refused(url):
    with pytest.raises(ValueError, match="`image_url` must be a data URL of an image in base64"):
        messages.read_image_part({"type": "image_url", "image_url": {"url": url}})


def test_an_image_that_claims_too_much_is_refused(photo):
    with pytest.raises(ValueError, match="512 x 512 pixels"):
        messages.read_image_part(messages.image_part(photo), max_pixels=1000)


@pytest.mark.parametrize(
    "change",
    [
        lambda head, data: f"{head.upper()},{data}",
        lambda head, data: f"{head},{data[:20]}\n{data[20:]}\n",
        lambda head, data: f"{head},{data.rstrip('=')}",
        lambda head, data: f"{head}, {data.replace('+', '%2B').replace('/', '%2F').replace('=', '%3D')}",
        lambda head, data: f"{head},{data.replace('+', '-').replace('/', '_')}",
        lambda head, data: f"data:text/plain;base64,{data}",
    ],
)
def test_data_urls_as_encoders_leave_them(change):
    head, _, data = messages.image_part(Image.new("RGB", (41, 30), "red"))["image_url"]["url"].partition(",")
    part = {"type": "image_url", "image_url": {"url": change(head, data)}}
    assert messages.read_image_part(part).size == (41, 30)
    assert messages.last_image([{"role": "user", "content": [part]}]) == (0, 0)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://x/y.png", "must be a data URL.*got 'http://x/y.png'"),
        ("data:image/png,abc", "got 'data:image/png'; encode"),
        ("data:image/png;base64,a*b", "no base64"),
        ("data:image/png;base64,", "it is empty"),
    ],
)
def test_what_is_no_data_url_says_so(url, message):
    with pytest.raises(ValueError, match=message):
        messages.read_image_part({"image_url": {"url": url}})
