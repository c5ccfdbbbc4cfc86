"""`pmtools serve`: a model behind an OpenAI-compatible address, decoding by a method."""

from __future__ import annotations

import importlib.util
import logging
from typing import Annotated

from pmtools.cli import methods
from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, in_options, stderr
from pmtools.cli.models import DeviceOption, ModelOption, load_model

SERVER = "Server"


def serve(
    *,
    model: ModelOption = None,
    device: DeviceOption = None,
    method: methods.MethodOption = methods.Method["pm"],
    refine: methods.RefineOption = None,
    refresh: methods.RefreshOption = None,
    start_layer: methods.StartLayerOption = None,
    gain: methods.GainOption = None,
    kernel_size: methods.KernelSizeOption = None,
    host: Annotated[str, opt.value("ADDRESS", "Address of this machine to serve at.", panel=SERVER)] = "127.0.0.1",
    port: Annotated[int, opt.value("N", "Port; 0 for any.", panel=SERVER, min=0, max=65535)] = 8000,
) -> None:
    """Serve a model to OpenAI clients; its answers come from the method, `pm` unless `--method` says otherwise.

    The server is that of `transformers serve`: /v1/chat/completions, plain and streamed, /v1/responses, /v1/models.
    There is no password: whoever reaches the address can use it.
    """
    given = methods.given(
        method, refine=refine, refresh=refresh, start_layer=start_layer, gain=gain, kernel_size=kernel_size
    )
    for needed in ("fastapi", "uvicorn", "openai"):
        if importlib.util.find_spec(needed) is None:
            raise CommandError(f"`pmtools serve` needs {needed}: pip install 'pmtools[serve]'", exit_code=1)
    import uvicorn

    from pmtools.app.server import open_socket
    from pmtools.serving import serving_app

    try:
        bound = open_socket(host, port)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (")[0]
        raise CommandError(
            f"cannot serve at {host}, port {port}: {reason}; try another --port or --host", exit_code=1
        ) from None
    with bound:
        loaded = load_model(model, device, command="serve")
        name = loaded.name.replace(" ", "-")
        try:
            decoder = methods.make(method, loaded, given)
            app = serving_app(loaded.model, loaded.processor, name=name, method=decoder)
        except (TypeError, ValueError, ImportError) as error:
            raise CommandError(in_options(str(error))) from None
        logging.getLogger("transformers").setLevel(logging.ERROR)  # it warns of every request
        address, number = bound.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        stderr().print(f"{name} answers at http://{shown}:{number}/v1; Ctrl-C ends it")
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[bound])
