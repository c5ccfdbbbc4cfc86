"""The command line, `pmtools magnify | unmagnify | coords | show`: one file a command, nothing that the library cannot do.

Needs the extra `cli` (typer, rich), which is why nothing else imports this package.
"""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the program's name. Default: `sys.argv[1:]`.

    Raises
    ------
    SystemExit
        Always. Code 0: all went well; 1: a file failed; 2: the command was not understood; 130: interrupted.
    """
    try:
        from pmtools.cli.application import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f"pmtools: the command line needs {error.name}: pip install 'pmtools[cli]'")
    except KeyboardInterrupt:  # loading takes a while
        sys.stderr.write("pmtools: error: interrupted\n")
        sys.exit(130)
    warnings.formatwarning = lambda message, *_, **__: f"pmtools: warning: {message}\n"
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it finds odd, errors say in our words
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: temporary files are removed
    app(args=arguments, prog_name="pmtools")
