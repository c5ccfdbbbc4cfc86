"""torchvision beside a torch that its compiled operators were not built for: their names, so that it can be imported.

A plugin of pytest, for `make test-families` only: transformers' image and video processors resize and normalise with
torchvision's Python code. The operators named here are those of detection, which none of them calls.
"""

import torch

OPERATORS = (
    *("nms", "qnms", "qroi_align"),
    *("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d"),
    *("_roi_align_backward", "_roi_pool_backward", "_ps_roi_align_backward", "_ps_roi_pool_backward"),
    "_deform_conv2d_backward",
)


def load():
    """torchvision, and what must be kept alive as long as it is used."""
    library = torch.library.Library("torchvision", "DEF")
    for name in OPERATORS:
        library.define(f"{name}(Tensor anything) -> Tensor")
    import torchvision

    return torchvision, library


def pytest_configure(config):
    config.torchvision = load()
