"""Magnification as a transform of other libraries, one file each; none is imported before its file is.

| file | what is in it |
|---|---|
| `torchvision.py` | `Magnify`, a transform of `torchvision.transforms.v2` that keeps tv_tensors |
| `albumentations.py` | `Magnify`, a `DualTransform` |
| `kornia.py` | `Magnify`, an augmentation with its inverse |
| `supervision.py` | `detections`, for `supervision.Detections` |
| `loading.py` | `collate`, for PyTorch's `DataLoader` with warps in its samples |

They take a warp, or a function that makes one for each image. To undo, give them the warp's inverse.
"""
