"""`pmtools app`: the web page, on this machine."""

from __future__ import annotations

import webbrowser
from typing import Annotated

from pmtools.app.pictures import MEGABYTE, Limits
from pmtools.app.server import serve
from pmtools.cli import addresses
from pmtools.cli import options as opt
from pmtools.cli.console import stderr


def app(
    *,
    host: Annotated[str, opt.value("ADDRESS", "Address of this machine to serve at.")] = "127.0.0.1",
    port: Annotated[
        int | None, opt.value("N", "Port; 0 for any. Default: 7860, or any where that is taken.", min=0, max=65535)
    ] = None,
    max_upload: Annotated[float, opt.value("MB", "Largest file to take.", min=0.001)] = Limits().upload_bytes
    / MEGABYTE,
    max_pixels: Annotated[int, opt.value("N", "Most pixels of an image to open or make.", min=1)] = Limits().pixels,
    max_memory: Annotated[
        float, opt.value("MB", "Most memory for the pictures of all users; beyond, the oldest are let go.", min=0.001)
    ] = Limits().memory_bytes / MEGABYTE,
    browser: Annotated[bool, opt.flag("Open it in the browser, too.", "--browser")] = False,
) -> None:
    """Serve a page to try magnification on: mark a region or ask the demo model, move sliders, take the result home.

    Nothing leaves this machine, and only this machine reaches the page, unless --host says otherwise.
    """
    limits = Limits(
        upload_bytes=round(max_upload * MEGABYTE), pixels=max_pixels, memory_bytes=round(max_memory * MEGABYTE)
    )
    addresses.check_installed("app", "gradio", "matplotlib", "skimage")
    bound = addresses.bound_socket(host, port)
    url = addresses.address_of(bound)

    def tell() -> None:
        stderr().print(f"the page is at {url}; Ctrl-C ends it")
        addresses.warn_of_others(host)
        if browser:
            webbrowser.open(url)

    with bound:
        serve(bound, limits=limits, started=tell)
