"""transformers' own server with the embedded model, as its command starts it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def started(*command: str) -> Iterator[str]:
    """Run `pmtools ...` on a free port; yields the address that it says."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", "pmtools", *command, "--port", "0"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=env) as process:
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+(/\w+)?", line)
        assert found, line + process.stderr.read()
        reader = threading.Thread(target=process.stderr.read)  # a full pipe would stop the server
        reader.start()
        try:
            yield found[0]
        finally:
            process.terminate()
            reader.join()
