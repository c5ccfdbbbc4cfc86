"""`pmtools mcp`: tools for agents that look closer."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pmtools.cli import addresses
from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, in_options, stderr

#: Most pixels that are shown: what the agents' models take without shrinking it.
_MAX_PIXELS = 1280 * 28 * 28


class Transport(StrEnum):
    """How agents reach the server."""

    STDIO = "stdio"
    HTTP = "http"


def mcp(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the images are.")],
    *,
    transport: Annotated[
        Transport, opt.value("stdio|http", "On stdin and stdout, or at an address.", panel=addresses.SERVER)
    ] = Transport.STDIO,
    host: addresses.HostOption = "127.0.0.1",
    port: addresses.PortOption = 8001,
    max_pixels: Annotated[
        int, opt.value("N", "Most pixels to show of an image.", panel=addresses.SERVER, min=1)
    ] = _MAX_PIXELS,
) -> None:
    """Serve look, zoom and back to agents, by the Model Context Protocol.

    They read images in the folder and below it, and nothing else; nothing is written. There is no password: whoever reaches the
    address can use it.
    """
    addresses.check_installed("mcp", "mcp")
    from pmtools.api.agents import agent_server, serve_stdio
    from pmtools.api.tools import Tools

    try:
        server = agent_server(Tools(folder, max_pixels=max_pixels))
    except ValueError as error:
        raise CommandError(in_options(str(error))) from None
    if transport is Transport.STDIO:
        serve_stdio(server)
        return
    with addresses.bound_socket(host, port) as bound:
        stderr().print(f"the tools answer at {addresses.address_of(bound)}/mcp; Ctrl-C ends it")
        addresses.warn_of_others(host)
        addresses.run_application(server.streamable_http_app(host=host), bound)
