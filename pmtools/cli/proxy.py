"""`pmtools proxy`: an address before an OpenAI-compatible server that magnifies images and undoes answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pmtools.answers import FORMATS
from pmtools.answers.undoing import UNITS
from pmtools.app.server import is_loopback
from pmtools.cli import addresses
from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, in_options, stderr
from pmtools.cli.options import WHAT

_MEGABYTE = 2**20


class Region(StrEnum):
    """Where the region comes from, if a request does not say."""

    NONE = "none"
    ASK = "ask"


#: What numbers in answers count.
AnswerUnits = StrEnum("AnswerUnits", {name: name for name in UNITS})  # type: ignore[misc]


def proxy(
    *,
    upstream: Annotated[
        str, opt.value("URL", "The server, for example http://localhost:8000/v1.", panel=addresses.SERVER)
    ],
    host: addresses.HostOption = "127.0.0.1",
    port: addresses.PortOption = 8002,
    max_body: Annotated[float, opt.value("MB", "Largest request to take.", panel=addresses.SERVER, min=0.001)] = 32,
    region: Annotated[
        Region,
        opt.value(
            "none|ask", "What a request magnifies that does not say: nothing, or what the model names.", panel=WHAT
        ),
    ] = Region.NONE,
    format: Annotated[
        opt.AnswerFormat, opt.value("NAME", "How the model writes places: " + ", ".join(FORMATS) + ".", panel=WHAT)
    ] = opt.AnswerFormat["json"],
    max_pixels: Annotated[
        int, opt.value("N", "Most pixels that the server keeps of an image.", panel=WHAT, min=1)
    ] = 1280 * 28 * 28,
    units: Annotated[
        AnswerUnits, opt.value("|".join(UNITS), "What numbers in answers count.", panel=WHAT)
    ] = AnswerUnits["same"],
) -> None:
    """Serve an OpenAI-compatible address that magnifies images on the way in and undoes coordinates on the way out.

    A request says what to magnify in a field of its own: "pmtools": {"boxes": [[x0, y0, x1, y1]]}, in pixels of its last
    image, or {"boxes": "ask"}. All else passes through unchanged. Keys go to the server and are neither kept nor logged.
    """
    addresses.check_installed("proxy", "starlette", "httpx2", "uvicorn")
    from pmtools.api.proxy import proxy_app
    from pmtools.api.view_options import ViewOptions

    try:
        options = ViewOptions(
            boxes=None if region is Region.NONE else region.value,
            format=format.value,
            max_pixels=max_pixels,
            units=units.value,
        )
        names = {"allowed_hosts": ["*"]} if not is_loopback(host) else {}
        application = proxy_app(
            upstream, options=options, max_body=round(max_body * _MEGABYTE), log=stderr().print, **names
        )
    except ValueError as error:
        raise CommandError(in_options(str(error))) from None
    with addresses.bound_socket(host, port) as bound:
        stderr().print(f"{addresses.address_of(bound)}/v1 forwards to {upstream}; Ctrl-C ends it")
        addresses.warn_of_others(host)
        addresses.run_application(application, bound)
