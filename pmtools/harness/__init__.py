"""Adapters for other evaluation harnesses, which load them to use the decoding methods of this package.

lmms-eval finds `manifest` through the entry point group `lmms_eval.models`, so installing this package is enough.
"""

from __future__ import annotations

from typing import Any

__all__ = ["manifest"]


def manifest() -> Any:
    """The manifest with which lmms-eval offers `--model pmtools_hf`; it loads neither torch nor transformers.

    Returns
    -------
    lmms_eval.models.registry_v2.ModelManifest
        One class for tasks that give messages, and one for the others.
    """
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id="pmtools_hf",
        simple_class_path="pmtools.harness.lmms_eval.SimpleModel",
        chat_class_path="pmtools.harness.lmms_eval.ChatModel",
        aliases=("pmtools",),
    )
