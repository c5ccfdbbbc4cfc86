"""What commands that serve have in common: an address that is free, how it is called, a server on it."""

from __future__ import annotations

import importlib.util
import socket
from typing import Annotated, Any

from pmtools.app.server import is_loopback, open_socket
from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, stderr

#: Panel of the help.
SERVER = "Server"

HostOption = Annotated[str, opt.value("ADDRESS", "Address of this machine to serve at.", panel=SERVER)]
PortOption = Annotated[int, opt.value("N", "Port; 0 for any.", panel=SERVER, min=0, max=65535)]


def check_installed(command: str, *packages: str) -> None:
    """Refuse a command whose extra is not installed; packages are looked for, not imported."""
    for needed in packages:
        if importlib.util.find_spec(needed) is None:
            raise CommandError(f"`pmtools {command}` needs {needed}: pip install 'pmtools[{command}]'", exit_code=1)


def bound_socket(host: str, port: int | None) -> socket.socket:
    """A listening socket, or the command's error."""
    try:
        return open_socket(host, port)
    except OSError as error:
        where = f"{host}, port {port}" if port is not None else host
        reason = str(error.strerror or error).partition(" (")[0]  # Python repeats the address there
        raise CommandError(f"cannot serve at {where}: {reason}; try another --port or --host", exit_code=1) from None


def address_of(bound: socket.socket) -> str:
    """Its URL."""
    address, number = bound.getsockname()[:2]
    return f"http://[{address}]:{number}" if ":" in address else f"http://{address}:{number}"


def warn_of_others(host: str) -> None:
    """Say so where other machines reach the address."""
    if not is_loopback(host):
        stderr().print("anyone who reaches this address can use it: there is no password")


def run_application(application: Any, bound: socket.socket) -> None:
    """Serve until Ctrl-C; requests are not logged, only what goes wrong."""
    import uvicorn

    config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[bound])
