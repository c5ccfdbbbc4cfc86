"""The proxy: between the openai client and transformers' own server with the embedded model, and before a stub for formats."""

from __future__ import annotations

import contextlib
import threading
from itertools import islice

import numpy as np
import pytest
from chat_stub import chat_stub
from demo_server import started
from PIL import Image

from pmtools.api import messages, view
from pmtools.api.view_options import ViewOptions

openai = pytest.importorskip("openai", reason="its tests need openai: pip install 'pmtools[api,proxy]'")
httpx2 = pytest.importorskip("httpx2", reason="the proxy needs httpx2: pip install 'pmtools[proxy]'")
uvicorn = pytest.importorskip("uvicorn", reason="the proxy needs uvicorn: pip install 'pmtools[proxy]'")
pytest.importorskip("starlette", reason="the proxy needs starlette: pip install 'pmtools[proxy]'")

BOX = [318, 395, 366, 440]
SAID = 'Here: [{"bbox_2d": [200, 200, 800, 800], "label": "badge"}, {"point_2d": [500, 500]}] – done.'


@pytest.fixture
def photo(astronaut):
    return Image.fromarray(astronaut)


@contextlib.contextmanager
def proxied(upstream, **options):
    """The proxy in a thread; yields its address and the lines that it logs."""
    from pmtools.api.proxy import proxy_app
    from pmtools.app.server import open_socket

    lines = []
    with open_socket("127.0.0.1", 0) as bound:
        app = proxy_app(upstream, log=lines.append, **options)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}", lines
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def talking(say, **options):
    """A client of the proxy before a stub."""
    with (
        chat_stub(say) as stub,
        proxied(stub.url, **options) as (address, lines),
        openai.OpenAI(base_url=f"{address}/v1", api_key="sk-secret", max_retries=0) as client,
    ):
        yield client, stub, lines


def asking(photo, question="Where?", **own):
    body = {"model": "m", "messages": [messages.user_message(photo, question)]}
    return {**body, "extra_body": {"pmtools": own}} if own else body


def image_in(body):
    return messages.read_image_part(body["messages"][-1]["content"][0])


# ------------------------------------------------------------------------------------------------ what is changed


@pytest.mark.parametrize("stream", [False, True])
def test_the_image_goes_magnified_and_the_answer_comes_undone(photo, stream):
    wish = {"boxes": [BOX], "format": "qwen3-vl", "max_pixels": 200_000}
    wanted = view(photo, BOX, format="qwen3-vl", max_pixels=200_000)
    with talking(lambda body: {"content": SAID}) as (client, stub, lines):
        reply = client.chat.completions.create(**asking(photo, **wish), stream=stream, temperature=0.5)
        if stream:
            pieces = [chunk.choices[0].delta.content or "" for chunk in reply]
            assert len(pieces) > 5
            text = "".join(pieces)
        else:
            text = reply.choices[0].message.content
    assert text == wanted.undo(SAID).text != SAID
    (_, _, body), *others = stub.asked
    assert not others
    assert set(body) == {"model", "messages", "temperature", "stream"}
    assert body["temperature"] == 0.5
    np.testing.assert_array_equal(np.asarray(image_in(body)), np.asarray(wanted.image))
    assert body["messages"][0]["content"][1] == {"type": "text", "text": "Where?"}
    assert len(lines) == 1
    assert str(wanted.warp) in lines[0]


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_come_undone(photo, stream):
    arguments = '{"x": 250, "y": 250, "button": "left"}'
    call = {"id": "c", "type": "function", "function": {"name": "click", "arguments": arguments}}
    wish = {"boxes": BOX, "format": "computer-use"}
    with talking(lambda body: {"tool_calls": [call]}) as (client, _, _):
        reply = client.chat.completions.create(**asking(photo, **wish), stream=stream)
        if stream:
            calls = [part for chunk in reply for part in chunk.choices[0].delta.tool_calls or []]
            said = "".join(part.function.arguments for part in calls)
            assert [part.function.name for part in calls if part.function.name] == ["click"]
        else:
            (made,) = reply.choices[0].message.tool_calls
            said = made.function.arguments
    assert said == view(photo, BOX, format="computer-use").undo(arguments).text != arguments


def test_the_model_names_the_region(photo):
    def say(body):
        return {"content": '{"bbox_2d": [600, 700, 700, 800]}' if "look closely" in str(body["messages"]) else SAID}

    with talking(say, options=ViewOptions(boxes="ask", format="qwen3-vl", units="pixels")) as (client, stub, lines):
        reply = client.chat.completions.create(**asking(photo, "What does it say?"))
    first, second = (body for _, _, body in stub.asked)
    assert "What does it say?" in first["messages"][0]["content"][1]["text"]
    assert not np.array_equal(np.asarray(image_in(second)), np.asarray(photo))
    assert "boxes [[294.4, 345.6, 371.2, 422.4]]" in lines[0]
    wanted = view(photo, [294.4, 345.6, 371.2, 422.4], format="qwen3-vl")
    assert reply.choices[0].message.content == wanted.undo(SAID, units="pixels").text


def test_a_broken_off_stream_says_what_it_had(photo):
    with talking(lambda body: {"content": '{"point_2d": [500, 500'}) as (client, _, _):
        reply = client.chat.completions.create(**asking(photo, boxes=BOX, format="qwen3-vl"), stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in reply) == '{"point_2d": [500, 500'


# ---------------------------------------------------------------------------------------------- what goes through


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("own", [{}, {"boxes": None}, {"boxes": []}])
def test_without_a_region_nothing_is_changed(photo, stream, own):
    with talking(lambda body: {"content": SAID}) as (client, stub, lines):
        reply = client.chat.completions.create(**asking(photo, **own), stream=stream)
        text = "".join(c.choices[0].delta.content or "" for c in reply) if stream else reply.choices[0].message.content
    assert text == SAID
    assert stub.asked[0][2]["messages"] == asking(photo)["messages"]
    assert "pmtools" not in stub.asked[0][2]
    assert not lines


def test_a_region_that_the_model_does_not_name_changes_nothing(photo):
    with talking(lambda body: {"content": "No idea."}) as (client, stub, _):
        client.chat.completions.create(**asking(photo, boxes="ask"))
    assert len(stub.asked) == 2
    assert stub.asked[1][2]["messages"] == asking(photo)["messages"]


def test_other_paths_go_through_to_the_byte():
    content = b'{"input":  "caf\xc3\xa9", "model": "m"}'
    with chat_stub(lambda body: {}) as stub, proxied(stub.url) as (address, _):
        assert httpx2.get(f"{address}/v1/models", headers={"x-mine": "1"}).json() == {"object": "list", "data": []}
        reply = httpx2.post(
            f"{address}/v1/embeddings?a=%2F&b=1", content=content, headers={"authorization": "Bearer k"}
        )
    assert reply.content == content
    (path, headers, _), (posted, posted_headers, _) = stub.asked
    assert (path, headers["x-mine"]) == ("/v1/models", "1")
    assert (posted, posted_headers["authorization"]) == ("/v1/embeddings?a=%2F&b=1", "Bearer k")


def test_the_servers_errors_go_through(photo):
    with talking(lambda body: {"content": SAID}) as (client, stub, _):
        for own in ({}, {"boxes": BOX}, {"boxes": "ask"}):
            stub.failures = 1
            with pytest.raises(openai.InternalServerError, match="busy"):
                client.chat.completions.create(**asking(photo, **own))


# -------------------------------------------------------------------------------------------- limits and refusals


@pytest.mark.parametrize(
    ("own", "error"),
    [
        ({"boxes": "here"}, "`boxes` must be one of 'ask'"),
        ({"boxes": [[5, 5, 1, 1]]}, "`boxes` must hold"),
        ({"boxes": 3}, "`boxes` must have shape"),
        ({"box": BOX}, "`pmtools` must be an object with boxes, format"),
        ({"boxes": BOX, "format": "qwen"}, "`format` must be one of"),
        ({"boxes": BOX, "zoom": 1000}, "`zoom` must fit"),
        ({"boxes": BOX, "format": "florence-2", "units": "pixels"}, "`units` must be 'same'"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(photo, own, error):
    with talking(lambda body: {"content": SAID}) as (client, stub, _):
        with pytest.raises(openai.BadRequestError, match=error):
            client.chat.completions.create(**asking(photo, **own))
        assert not stub.asked


def test_an_image_that_is_none_is_refused(photo):
    body = asking(photo, boxes=BOX)
    body["messages"][0]["content"][0]["image_url"]["url"] = "data:image/png;base64,AAAA"
    with talking(lambda _: {}) as (client, _, _), pytest.raises(openai.BadRequestError, match="`image_url` must be"):
        client.chat.completions.create(**body)


def test_images_by_address_are_not_fetched(photo):
    body = asking(photo, boxes=BOX)
    body["messages"][0]["content"][0]["image_url"]["url"] = "http://127.0.0.1:9/secret.png"
    with talking(lambda _: {"content": SAID}) as (client, stub, _):
        assert client.chat.completions.create(**body).choices[0].message.content == SAID
    assert stub.asked[0][2]["messages"] == body["messages"]


def test_large_requests_are_refused(photo):
    with talking(lambda body: {"content": SAID}, max_body=1000) as (client, stub, _):
        with pytest.raises(openai.APIStatusError, match="at most 1000 bytes") as refused:
            client.chat.completions.create(**asking(photo))
        assert refused.value.status_code == 413
        assert not stub.asked


def test_it_answers_to_names_of_this_machine_only():
    with chat_stub(lambda body: {}) as stub, proxied(stub.url) as (address, _):
        assert httpx2.get(f"{address}/v1/models", headers={"host": "evil.example"}).status_code == 400
        assert httpx2.get(f"{address}/v1/models", headers={"host": "localhost:1"}).status_code == 200
    assert len(stub.asked) == 1


def test_an_upstream_that_is_not_there(photo):
    with proxied("http://127.0.0.1:9") as (address, _):
        reply = httpx2.get(f"{address}/v1/models")
    assert reply.status_code == 502
    assert "the upstream did not answer" in reply.json()["error"]["message"]


@pytest.mark.parametrize("boxes", [BOX, "ask"])
@pytest.mark.parametrize("said", ["", "oops", "[1]"])
def test_an_upstream_that_does_not_answer_in_json(photo, boxes, said):
    with talking(lambda _: said, options=ViewOptions(boxes=boxes)) as (client, _, _):
        with pytest.raises(openai.APIStatusError, match="its answer is not an object of JSON") as raised:
            client.chat.completions.create(**asking(photo))
        assert raised.value.status_code == 502


def test_an_upstream_that_is_no_address():
    from pmtools.api.proxy import proxy_app

    with pytest.raises(ValueError, match="`upstream` must be an address"):
        proxy_app("localhost:8000")


# --------------------------------------------------------------------------------------- transformers' own server


@pytest.mark.slow
def test_before_a_real_server():
    from pmtools import zoo
    from pmtools.decoding import METHODS
    from pmtools.evaluation.scenes import scene_items

    demo = zoo.demo_model()
    pm = METHODS["pm"](demo.processor, **demo.settings)
    options = {"model": "demo-model", "max_tokens": 2, "temperature": 0.0}
    with (
        started("serve") as server,
        started("proxy", "--upstream", server) as address,
        openai.OpenAI(base_url=address, api_key="none", timeout=120, max_retries=0) as client,
    ):
        assert [model.id for model in client.models.list()] == ["demo-model"]
        for item in islice(scene_items(seed=11), 2):
            question, middle = item.question.text, [item.image.width / 2, item.image.height / 2]
            box = [*np.subtract(middle, 20).tolist(), *np.add(middle, 20).tolist()]
            seen = view(item.image, box)
            for own, image in (({}, item.image), ({"boxes": [box]}, seen.image)):
                here = pm.generate(demo.model, image, demo.prompt(question), max_new_tokens=2, do_sample=False)
                asked = {**asking(item.image, question, **own), **options}
                said = client.chat.completions.create(**asked).choices[0].message.content
                parts = client.chat.completions.create(**asked, stream=True)
                streamed = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
                assert said.strip() == streamed.strip() == here
