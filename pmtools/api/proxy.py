"""An OpenAI-compatible server in front of another: images magnified on the way in, coordinates undone on the way out.

Chat completions with an image and a region are changed, plain or streamed; everything else passes through unchanged. Headers,
including the key, go to the upstream and are neither kept nor logged.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pmtools.answers.looking import regions
from pmtools.api import messages
from pmtools.api.view_options import ViewOptions
from pmtools.api.views import View

#: Largest request that is accepted, in bytes.
MAX_BODY = 32 * 2**20
#: The field of a request that says what to magnify.
FIELD = "pmtools"
#: Most pixels of an image in it.
_IMAGE_PIXELS = 50_000_000
_OF_A_CONNECTION = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"),
    *("upgrade", "host", "content-length"),
}
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def proxy_app(
    upstream: str,
    /,
    *,
    options: ViewOptions | None = None,
    max_body: int = MAX_BODY,
    allowed_hosts: Sequence[str] = ("localhost", "127.0.0.1", "[::1]"),
    log: Callable[[str], None] | None = None,
) -> Any:
    """The proxy as an ASGI application.

    Parameters
    ----------
    upstream : str
        Address of the server, with or without /v1.
    options : ViewOptions, optional
        Used if a request has no options of its own. Default: magnify nothing.
    max_body : int, optional
        Largest request in bytes.
    allowed_hosts : sequence of str, optional
        Host names under which the proxy answers. It refuses others, so that no web page reaches it under its own name.
    log : callable, optional
        Called with one line per magnified image: sizes, boxes and format, nothing of the conversation.

    Returns
    -------
    Starlette application

    Raises
    ------
    ImportError
        If starlette or httpx2 is missing: pip install 'pmtools[proxy]'.
    ValueError
        If `upstream` is not an address.
    """
    from contextlib import asynccontextmanager

    import httpx2
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    if not upstream.startswith(("http://", "https://")):
        raise ValueError(f"`upstream` must be an address such as http://localhost:8000/v1, got {upstream!r}")
    base = upstream.rstrip("/").removesuffix("/v1")

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with httpx2.AsyncClient(timeout=httpx2.Timeout(600, connect=10)) as client:
            app.state.proxy = _Proxy(client, base, options or ViewOptions(), max_body, log or (lambda _: None))
            yield

    async def answer(request: Any) -> Any:
        return await request.app.state.proxy.answer(request)

    return Starlette(
        routes=[Route("/{path:path}", answer, methods=_METHODS)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts))],
        lifespan=lifespan,
    )


@dataclass(frozen=True)
class _Proxy:
    """What stays the same from request to request."""

    client: Any
    base: str
    options: ViewOptions
    max_body: int
    log: Callable[[str], None]

    async def answer(self, request: Any) -> Any:
        import httpx2

        content = b""
        async for piece in request.stream():
            content += piece
            if len(content) > self.max_body:
                return _error(413, f"the request must have at most {self.max_body} bytes; send a smaller image")
        try:
            if request.method == "POST" and request.url.path.endswith("/chat/completions"):
                return await self._chat(request, content)
            return await self._through(request, content)
        except httpx2.HTTPError as error:
            return _error(502, f"the upstream did not answer: {type(error).__name__} {error}".rstrip())
        except (TypeError, ValueError) as error:
            return _error(400, str(error))

    async def _chat(self, request: Any, content: bytes) -> Any:
        """Magnify the image on the way in and undo places on the way out, if the request asks for it."""
        from anyio.to_thread import run_sync

        try:
            body = json.loads(content)
        except ValueError:
            return await self._through(request, content)  # the server reports the error
        talk = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(talk, list):
            return await self._through(request, content)
        options = self.options
        if FIELD in body:
            options = options.updated(body.pop(FIELD), FIELD)
            content = json.dumps(body).encode()
        where = messages.last_image([message if isinstance(message, dict) else {} for message in talk])
        if where is None or options.boxes is None:
            return await self._through(request, content)
        part = talk[where.message]["content"][where.part]
        picture = await run_sync(partial(messages.read_image_part, part, max_pixels=_IMAGE_PIXELS))
        boxes, failed = (
            await self._asked(request, body, picture, options) if options.asks_model else (options.boxes, None)
        )
        if failed is not None:
            return failed
        if not len(boxes):
            return await self._through(request, content)
        shown = await run_sync(options.view, picture, boxes)
        self.log(f"{shown.warp}, boxes {shown.boxes_xyxy.round(1).tolist()}")
        body["messages"] = await run_sync(messages.with_image, talk, where, shown.image)
        return await self._undone(request, body, shown, options.units)

    async def _asked(
        self, request: Any, body: Mapping[str, Any], picture: Any, options: ViewOptions
    ) -> tuple[Any, Any]:
        """The region that the model names on an overview; or the upstream's refusal."""
        overview = options.overview(picture)
        question = messages.region_question(overview, messages.last_question(body["messages"]))
        asked = {"model": body.get("model"), "messages": [question]}
        response = await self.client.send(self._request(request, json.dumps(asked).encode(), plain=True))
        if response.status_code != 200:
            return (), _whole(response, response.content)
        (message, *_) = [choice.get("message") or {} for choice in _parsed(response).get("choices") or [{}]]
        return regions(overview.undo(messages.text_of(message)), overview.warp.source_hw), None

    async def _undone(self, request: Any, body: Mapping[str, Any], shown: View, units: str) -> Any:
        from starlette.responses import StreamingResponse

        response = await self.client.send(self._request(request, json.dumps(body).encode(), plain=True), stream=True)
        kind = response.headers.get("content-type", "")
        if response.status_code == 200 and kind.startswith("text/event-stream"):
            lines = _events(response, messages.Chunks(partial(shown.undoing, units=units)))
            return StreamingResponse(lines, 200, _headers(response, rewritten=True))
        content = await response.aread()
        await response.aclose()
        if response.status_code == 200 and kind.startswith("application/json"):
            answer = _parsed(response)
            for choice in answer.get("choices") or []:
                if isinstance(choice.get("message"), dict):
                    choice["message"] = messages.undone_message(choice["message"], shown, units=units)
            content = json.dumps(answer).encode()
        return _whole(response, content)

    async def _through(self, request: Any, content: bytes) -> Any:
        """The request and its answer as they are."""
        from starlette.responses import StreamingResponse

        response = await self.client.send(self._request(request, content), stream=True)

        async def raw() -> AsyncIterator[bytes]:
            try:
                async for piece in response.aiter_raw():
                    yield piece
            finally:
                await response.aclose()

        return StreamingResponse(raw(), response.status_code, _headers(response))

    def _request(self, request: Any, content: bytes, *, plain: bool = False) -> Any:
        """The request to the upstream; `plain` where its answer is to be read here."""
        left_out = _OF_A_CONNECTION | ({"accept-encoding"} if plain else set())
        headers = {name: value for name, value in request.headers.items() if name not in left_out}
        if plain:
            headers["accept-encoding"] = "identity"
        path = request.scope["raw_path"].decode("ascii") + (f"?{request.url.query}" if request.url.query else "")
        return self.client.build_request(request.method, self.base + path, headers=headers, content=content)


def _parsed(response: Any) -> dict[str, Any]:
    """The object that an answer holds, which has been read."""
    import httpx2

    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise httpx2.DecodingError("its answer is not an object of JSON", request=response.request)
    return answer


async def _events(response: Any, chunks: messages.Chunks) -> AsyncIterator[str]:
    """A stream of events, its answers undone."""

    def event(chunk: Any) -> str:
        return f"data: {json.dumps(chunk)}"

    try:
        async for line in response.aiter_lines():
            data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
            if data == "[DONE]":
                rest = chunks.finish()
                yield (event(rest) + "\n\n" if rest else "") + line + "\n"
            elif data.startswith("{") and "choices" in (chunk := json.loads(data)):
                yield event(chunks.feed(chunk)) + "\n"
            else:
                yield line + "\n"
        if rest := chunks.finish():  # the stream ended early
            yield event(rest) + "\n\n"
    finally:
        await response.aclose()


def _headers(response: Any, *, rewritten: bool = False) -> dict[str, str]:
    """Headers of an answer that remain valid for the content that is passed on."""
    left_out = _OF_A_CONNECTION | ({"content-encoding"} if rewritten else set())
    kept = {name: value for name, value in response.headers.items() if name.lower() not in left_out}
    length = response.headers.get("content-length")
    return kept if rewritten or length is None else {**kept, "content-length": length}


def _whole(response: Any, content: bytes) -> Any:
    from starlette.responses import Response

    return Response(content, response.status_code, _headers(response, rewritten=True))


def _error(status: int, message: str) -> Any:
    """An error as OpenAI's clients read it."""
    from starlette.responses import JSONResponse

    return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, status)
