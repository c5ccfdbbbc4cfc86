"""The version that a site describes, in its footer."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> None:
    """Read it from where it is set."""
    with (Path(config.config_file_path).parent / "pyproject.toml").open("rb") as file:
        config.copyright = f"pmtools {tomllib.load(file)['project']['version']}"
