"""A model behind transformers' own OpenAI-compatible server, asked by the `openai` client."""

import base64
import io
import json
from itertools import islice

import pytest
from demo_server import started

from pmtools import zoo
from pmtools.decoding import METHODS
from pmtools.evaluation.scenes import scene_items

openai = pytest.importorskip("openai", reason="serving needs openai: pip install 'pmtools[serve]'")
uvicorn = pytest.importorskip("uvicorn", reason="serving needs uvicorn: pip install 'pmtools[serve]'")

pytestmark = pytest.mark.slow  # it needs packages that `make test` does without
ITEMS = list(islice(scene_items(seed=11), 4))


def messages(item):
    stream = io.BytesIO()
    item.image.save(stream, "PNG")
    url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": item.question.text}]
    return [{"role": "user", "content": content}]


@pytest.fixture(scope="module")
def address():
    """The server of the manual's command, on a free port."""
    with started("serve") as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def answers():
    """What the method says without any server."""
    demo = zoo.demo_model()
    pm = METHODS["pm"](demo.processor, **demo.settings)
    return [
        pm.generate(demo.model, item.image, demo.prompt(item.question.text), max_new_tokens=2, do_sample=False)
        for item in ITEMS
    ]


OPTIONS = {"model": "demo-model", "max_tokens": 2, "temperature": 0.0}


def test_the_model_is_listed(client):
    assert [model.id for model in client.models.list()] == ["demo-model"]


def test_answers_are_the_methods(client, answers):
    said = [client.chat.completions.create(messages=messages(item), **OPTIONS) for item in ITEMS]
    assert [reply.choices[0].message.content.strip() for reply in said] == answers
    assert said[0].usage.completion_tokens <= 2


def test_answers_are_streamed(client, answers):
    for item, want in zip(ITEMS, answers, strict=True):
        parts = client.chat.completions.create(messages=messages(item), stream=True, **OPTIONS)
        assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices).strip() == want


def test_errors_reach_the_reader_of_a_stream(client):
    body = {"generation_config": json.dumps({"num_beams": 2, "max_new_tokens": 2})}
    parts = client.chat.completions.create(
        model="demo-model", messages=messages(ITEMS[0]), stream=True, extra_body=body
    )
    with pytest.raises(openai.APIError):  # had been an empty answer
        list(parts)


@pytest.mark.parametrize("path", ["systemone", "audio/transcriptions"])
def test_what_would_go_past_the_method_is_not_there(client, path):
    with pytest.raises(openai.NotFoundError):
        client.post(f"/{path}", cast_to=object, body={})


def test_a_question_without_an_image_is_answered_plainly(client):
    said = client.chat.completions.create(messages=[{"role": "user", "content": "Is there a circle?"}], **OPTIONS)
    assert said.choices[0].message.content.strip()


def test_stop_strings(client, answers):
    said = client.chat.completions.create(messages=messages(ITEMS[0]), stop=[answers[0]], **OPTIONS)
    assert said.usage.completion_tokens == 1


def test_errors_reach_the_client(client):
    broken = messages(ITEMS[0])
    broken[0]["content"][0]["image_url"]["url"] = "data:image/png;base64,AAAA"
    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(messages=broken, **OPTIONS)
    assert client.chat.completions.create(messages=messages(ITEMS[0]), **OPTIONS).choices
