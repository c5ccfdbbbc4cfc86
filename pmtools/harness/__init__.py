"""Other people's evaluation harnesses, with the decoding methods of this package; loaded by them, and only then.

lmms-eval finds `manifest` through the entry point group `lmms_eval.models`, so installing this package is enough.
"""

from __future__ import annotations

from typing import Any

__all__ = ["manifest"]


def manifest() -> Any:
    """What lmms-eval has to know to offer `--model pmtools_hf`; loads neither torch nor transformers.

    Returns
    -------
    lmms_eval.models.registry_v2.ModelManifest
        A class for tasks that are told as messages, and one for the others.
    """
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id="pmtools_hf",
        simple_class_path="pmtools.harness.lmms_eval.SimpleModel",
        chat_class_path="pmtools.harness.lmms_eval.ChatModel",
        aliases=("pmtools",),
    )
