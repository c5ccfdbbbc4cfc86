"""The server of the page: one address, no network beyond it.

gradio's own `launch` would open a public tunnel, look up its latest version online and choose ports by itself; here
uvicorn serves the page, on the given socket.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pmtools.app.pictures import Limits

#: Default port of the page, unless it is taken.
USUAL_PORT = 7860

# The browser itself refuses whatever the page might want from elsewhere. gradio's page has scripts and styles inline,
# and compiles components' scripts ("unsafe-eval").
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)

# where FastAPI and gradio describe their interfaces: users do not need them, attackers might
_DESCRIPTIONS = ("/openapi.json", "/docs", "/redoc")


def open_socket(host: str, port: int | None, /) -> socket.socket:
    """A socket to serve on.

    Parameters
    ----------
    host : str
        Address or name of this machine.
    port : int, optional
        None for `USUAL_PORT`, or any free one where that is taken; 0 for any free one.

    Returns
    -------
    socket.socket
        Already listening: clients that connect before the page is ready wait for it.

    Raises
    ------
    OSError
        If the address is taken, or is not one of this machine.
    """
    if port is None:
        with contextlib.suppress(OSError):
            return _listening(host, USUAL_PORT)
    return _listening(host, port or 0)


def _listening(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def serve(bound: socket.socket, /, *, limits: Limits, started: Callable[[], object] = lambda: None) -> None:
    """Serve the page until the process is interrupted.

    Parameters
    ----------
    bound : socket.socket
        From `open_socket`.
    limits : Limits
    started : callable, optional
        Called when the page can be opened.

    Raises
    ------
    ModuleNotFoundError
        If gradio is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="pmtools_app_") as folder:
        # read when gradio and transformers start: no reports, no record of what was done (in some versions there is no
        # argument for it), files in a folder that goes when the program ends, nothing looked up elsewhere
        os.environ.update(
            GRADIO_ANALYTICS_ENABLED="False", GRADIO_RUN_HISTORY="False", GRADIO_TEMP_DIR=folder, HF_HUB_OFFLINE="1"
        )
        import uvicorn

        app = make_app(limits, host=bound.getsockname()[0])
        started()
        # pages that are open keep a connection, which would keep the program from ending
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[bound])


def make_app(limits: Limits, /, *, host: str = "127.0.0.1") -> Any:
    """The page as an ASGI application.

    Parameters
    ----------
    limits : Limits
    host : str, optional
        The address it will be served at. On a loopback address, only requests for this machine are answered.

    Returns
    -------
    ASGI application
    """
    import gradio as gr
    from fastapi import FastAPI

    from pmtools.app.page import make_page

    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        make_page(limits),
        path="/",
        server_name=host,
        footer_links=[],
        max_file_size=limits.upload_bytes,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
            block_info_text_color="*neutral_500"
        ),
        css_paths=[Path(__file__).with_name("page.css")],
    )
    return _Guard(app, only_local=is_loopback(host))


def is_loopback(host: str, /) -> bool:
    """Whether only this machine reaches an address.

    Parameters
    ----------
    host : str
        A name or an address.

    Returns
    -------
    bool
    """
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


class _Guard:
    """Adds the policy to every response; refuses foreign host names (DNS rebinding) and requests from other pages."""

    def __init__(self, app: Any, *, only_local: bool) -> None:
        self.app, self.only_local = app, only_local

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self.only_local and not is_loopback(urlsplit("//" + host).hostname or ""):
            await _refuse(send, 421, b"This page answers requests for this machine only.")
            return
        if scope["method"] not in ("GET", "HEAD") and not _is_own_page(headers, host):
            await _refuse(send, 403, b"This page answers its own requests only, not those of other pages.")
            return
        if scope["path"].rstrip("/").endswith(_DESCRIPTIONS):
            await _refuse(send, 404, b"There is no such page.")
            return

        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self.app(scope, receive, with_policy)


def _is_own_page(headers: Mapping[bytes, str], host: str) -> bool:
    """Whether a request comes from the page itself, or not from a page; browsers name the page that they are on."""
    if headers.get(b"sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get(b"origin")
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()


async def _refuse(send: Any, status: int, reason: bytes) -> None:
    await send(
        {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain"), *_HEADERS]}
    )
    await send({"type": "http.response.body", "body": reason})
