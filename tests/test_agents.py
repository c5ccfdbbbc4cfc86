"""Tools for agents: as plain functions, and behind the Model Context Protocol, asked by the package's own client."""

from __future__ import annotations

import base64
import io
import json
import os
import sys

import numpy as np
import pytest
from demo_server import started
from PIL import Image

from pmtools import zoom_warp
from pmtools.api.tools import SCHEMAS, Tools

BOX = [621, 771, 715, 859]  # the badge, in thousandths
PIXELS = np.array(BOX) / 1000 * 512


@pytest.fixture
def folder(tmp_path, astronaut):
    (tmp_path / "in").mkdir()
    Image.fromarray(astronaut).save(tmp_path / "in" / "photo.png")
    Image.fromarray(astronaut).save(tmp_path / "secret.png")
    return tmp_path / "in"


@pytest.fixture
def tools(folder):
    return Tools(folder, max_pixels=300 * 300)


# ----------------------------------------------------------------------------------------------------- functions


def test_look_shows_it_whole(tools):
    result = tools.look("photo.png")
    assert result.image.size == (300, 300)
    assert result.data == {"image_hw": [512, 512], "shown_hw": [300, 300]}
    assert "512 x 512 pixels, shown as 300 x 300" in result.text


def test_zoom_shows_the_box_larger_and_back_goes_back(tools):
    result = tools.zoom("photo.png", BOX)
    warp = zoom_warp(PIXELS, source_hw=(512, 512), target_hw=(300, 300))
    np.testing.assert_array_equal(
        np.asarray(result.image), np.asarray(warp.image(Image.open(tools.folder / "photo.png")))
    )
    there = (warp.boxes(PIXELS) / 300 * 1000).tolist()
    back = tools.back("photo.png", BOX, [there, there[:2]])
    assert back.data["thousandths"] == [BOX, BOX[:2]]
    np.testing.assert_allclose(back.data["pixels"][0], PIXELS, atol=0.051)
    assert back.image is None


def test_tools_are_called_by_name(tools):
    for schema in SCHEMAS:
        name, rules = schema["function"]["name"], schema["function"]["parameters"]
        given = {"image": "photo.png", "box": BOX, "places": [[500, 500]]}
        arguments = json.loads(json.dumps({key: given[key] for key in rules["required"]}))
        assert tools.call(name, arguments).text
    with pytest.raises(ValueError, match="`name` must be one of 'look', 'zoom', 'back'"):
        tools.call("erase", {})
    with pytest.raises(ValueError, match="`zoom` must have the arguments image, box, got image"):
        tools.call("zoom", {"image": "photo.png"})


def test_schemas_are_json_schemas():
    validators = pytest.importorskip("jsonschema")
    for schema in SCHEMAS:
        rules = schema["function"]["parameters"]
        validators.Draft202012Validator.check_schema(rules)
        given = {"image": "photo.png", "box": BOX, "places": [[500, 500], BOX]}
        validators.validate({key: given[key] for key in rules["required"]}, rules)
        with pytest.raises(validators.ValidationError):
            validators.validate({"image": 3}, rules)


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "in/../../secret.png", "a\0b", "link.png", 3])
def test_nothing_beyond_the_folder_is_read(tools, path):
    (tools.folder / "link.png").symlink_to(tools.folder.parent / "secret.png")
    with pytest.raises(ValueError, match="`image` must be"):
        tools.look(path)


@pytest.mark.parametrize(
    "box", [[1, 2, 3], [5, 5, 1, 1], [5, 5, 5, 9], ["a", 1, 2, 3], "1,2,3,4", [0, 0, float("nan"), 1]]
)
def test_boxes_that_are_none_are_refused(tools, box):
    with pytest.raises((TypeError, ValueError), match="box"):
        tools.zoom("photo.png", box)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`folder` must be a folder"):
        Tools(tmp_path / "nowhere")


# ---------------------------------------------------------------------------------------------------- the server


async def use(client):
    """What an agent does: list, look, zoom, go back, and a mistake."""
    async with client as session:
        listed = {tool.name: tool.input_schema for tool in (await session.list_tools()).tools}
        looked = await session.call_tool("look", {"image": "photo.png"})
        zoomed = await session.call_tool("zoom", {"image": "photo.png", "box": BOX})
        back = await session.call_tool("back", {"image": "photo.png", "box": BOX, "places": [[500, 500]]})
        mistake = await session.call_tool("look", {"image": "../secret.png"})
    return listed, looked, zoomed, back, mistake


def check(used, tools):
    listed, looked, zoomed, back, mistake = used
    assert listed == {schema["function"]["name"]: schema["function"]["parameters"] for schema in SCHEMAS}
    for result, want in ((looked, tools.look("photo.png")), (zoomed, tools.zoom("photo.png", BOX))):
        picture, words = result.content
        assert picture.mime_type == "image/png"
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.data))))
        np.testing.assert_array_equal(shown, np.asarray(want.image))
        assert words.text == want.text
        assert result.structured_content == want.data
    assert back.structured_content == tools.back("photo.png", BOX, [[500, 500]]).data
    assert mistake.is_error
    assert "in the folder that is served" in mistake.content[0].text


@pytest.mark.slow
def test_agents_reach_the_tools_on_stdio(tools):
    mcp = pytest.importorskip("mcp", reason="the server needs mcp: pip install 'pmtools[mcp]'")
    import anyio
    from mcp.client import Client
    from mcp.client.stdio import stdio_client

    arguments = ["-m", "pmtools", "mcp", str(tools.folder), "--max-pixels", "90000"]
    command = mcp.StdioServerParameters(command=sys.executable, args=arguments, env={**os.environ})
    check(anyio.run(use, Client(stdio_client(command))), tools)


@pytest.mark.slow
def test_agents_reach_the_tools_at_an_address(tools):
    pytest.importorskip("mcp", reason="the server needs mcp: pip install 'pmtools[mcp]'")
    import anyio
    from mcp.client import Client

    command = ("mcp", str(tools.folder), "--transport", "http", "--max-pixels", "90000")
    with started(*command) as address:
        assert address.endswith("/mcp")
        check(anyio.run(use, Client(address)), tools)
