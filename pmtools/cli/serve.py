"""`pmtools serve`: a model behind an OpenAI-compatible address, decoding by a method."""

from __future__ import annotations

import logging

from pmtools.cli import addresses, methods
from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, in_options, stderr
from pmtools.cli.models import load_model


@opt.taking(methods.Looking)
def serve(
    *,
    looking: methods.Looking,
    host: addresses.HostOption = "127.0.0.1",
    port: addresses.PortOption = 8000,
) -> None:
    """Serve a model to OpenAI clients; its answers come from the method, `pm` unless `--method` says otherwise.

    The server is that of `transformers serve`: /v1/chat/completions, plain and streamed, /v1/responses, /v1/models.
    There is no password: whoever reaches the address can use it.
    """
    given, method = looking.given(), looking.method
    addresses.check_installed("serve", "fastapi", "uvicorn", "openai")
    from pmtools.serving import serving_app

    with addresses.bound_socket(host, port) as bound:
        loaded = load_model(looking.model, looking.device, command="serve", settings=looking.settings)
        name = loaded.name.replace(" ", "-")
        try:
            decoder = methods.make(method, loaded, given)
            app = serving_app(loaded.model, loaded.processor, name=name, method=decoder)
        except (TypeError, ValueError, ImportError) as error:
            raise CommandError(in_options(str(error))) from None
        logging.getLogger("transformers").setLevel(logging.ERROR)  # it warns of every request
        stderr().print(f"{name} answers at {addresses.address_of(bound)}/v1; Ctrl-C ends it")
        addresses.run_application(app, bound)
