"""The `pmtools` command: its sub-commands, and what every one of them does about errors and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from pmtools import _kernel
from pmtools.cli import app as web_page
from pmtools.cli import ask, calibrate, demo, eval, magnify, mcp, methods, proxy, score, serve, show, unmagnify
from pmtools.cli.console import print_error, quoted
from pmtools.cli.coordinates.command import coords
from pmtools.cli.examples import examples


class OneLineErrors(TyperGroup):
    """A group of commands that reports what went wrong in one line on stderr, without a traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run a command and exit; the arguments are typer's own."""
        try:
            _kernel.check_environment()
        except ValueError as error:
            _fail(str(error), 2)
        try:
            sys.exit(super().main(args, prog_name, complete_var, False, windows_expand_args, **extra))
        except OSError as error:  # what happens to files is reported where it happens, but for impossible names
            if error.filename is not None:
                _fail(f"{quoted(error.filename)}: {error.strerror or error}", 1)
            _forget_unwritten_output()
            _fail(f"cannot write to stdout: {error.strerror or error}", 1)
        except MemoryError:
            _fail("there is not enough memory for this; a smaller image or --size may do", 1)
        except Exception as error:
            if not hasattr(error, "format_message"):  # not of the command line: a bug, which needs its traceback
                raise
            _fail(error.format_message().replace("Value error, ", ""), getattr(error, "exit_code", 2))


def _fail(message: str, code: int) -> NoReturn:
    print_error(message)
    sys.exit(code)


def _forget_unwritten_output() -> None:
    """Keep Python from flushing stdout again when it exits, which would fail again, with a second message."""
    if sys.stdout is sys.__stdout__:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


app = typer.Typer(
    cls=OneLineErrors,
    help="Magnify what matters in images, keep everything else in order, and undo it exactly.",
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=examples("magnify"))(magnify.magnify)
app.command(epilog=examples("unmagnify"))(unmagnify.unmagnify)
app.command(epilog=examples("coords"))(coords)
app.command(epilog=examples("show"))(show.show)
app.add_typer(score.app, name="score")
app.add_typer(eval.app, name="eval")
app.command(help=methods.with_methods(ask.ask), epilog=examples("ask"))(ask.ask)
app.command(epilog=examples("calibrate"))(calibrate.calibrate)
app.command(epilog=examples("demo"))(demo.demo)
app.command(epilog=examples("app"))(web_page.app)
app.command(help=methods.with_methods(serve.serve), epilog=examples("serve"))(serve.serve)
app.command(epilog=examples("proxy"))(proxy.proxy)
app.command(epilog=examples("mcp"))(mcp.mcp)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from pmtools import show_versions

    typer.echo(show_versions())
    raise typer.Exit


@app.callback(invoke_without_command=True)
def _pmtools(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the versions and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
