"""The tools as an MCP server, by the `mcp` package: its sessions, transports and checks of hosts are that package's."""

from __future__ import annotations

import base64
import io
from typing import Any

from pmtools.api.tools import SCHEMAS, ToolResult, Tools

_INSTRUCTIONS = (
    "Look at images closely: `look` shows one as a whole, `zoom` with a box magnified and the rest in order around it, "
    "`back` maps places on the zoomed image to the image itself."
)


def agent_server(tools: Tools, /) -> Any:
    """A server of the `mcp` package with the tools.

    Parameters
    ----------
    tools : Tools

    Returns
    -------
    mcp.server.Server
        `streamable_http_app()` makes an application of it, `run` serves streams.

    Raises
    ------
    ImportError
        If `mcp` is not installed: pip install 'pmtools[mcp]'.
    """
    import anyio
    from mcp import types
    from mcp.server import Server

    import pmtools

    functions = [schema["function"] for schema in SCHEMAS]
    listed = [
        types.Tool(name=one["name"], description=one["description"], input_schema=one["parameters"])
        for one in functions
    ]

    async def list_tools(_: Any, __: Any) -> Any:
        return types.ListToolsResult(tools=listed)

    async def call_tool(_: Any, params: Any) -> Any:
        try:
            result = await anyio.to_thread.run_sync(tools.call, params.name, params.arguments or {})
        except (TypeError, ValueError) as error:  # for the model to read and correct
            return types.CallToolResult(content=[types.TextContent(type="text", text=str(error))], is_error=True)
        return types.CallToolResult(content=_content(result, types), structured_content=result.data)

    return Server(
        "pmtools",
        version=pmtools.__version__,
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _content(result: ToolResult, types: Any) -> list[Any]:
    content = [types.TextContent(type="text", text=result.text)]
    if result.image is not None:
        stream = io.BytesIO()
        result.image.save(stream, "PNG", compress_level=1)
        data = base64.b64encode(stream.getvalue()).decode("ascii")
        content.insert(0, types.ImageContent(type="image", data=data, mime_type="image/png"))
    return content


def serve_stdio(server: Any, /) -> None:
    """Serve on stdin and stdout until they close."""
    import anyio
    from mcp.server.stdio import stdio_server

    async def run() -> None:
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())

    anyio.run(run)
