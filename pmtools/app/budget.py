"""A memory budget for all users of the page: when it is exceeded, the least recent user's pictures are dropped."""

from __future__ import annotations

import threading
import weakref
from typing import Protocol

from pmtools.typing import Image


class Holder(Protocol):
    """A user whose pictures can be dropped."""

    def release(self) -> bool:
        """Drop everything; False if the user is busy and nothing was dropped."""


class Budget:
    """Bytes that users hold, least recently used first. Users who have left do not count.

    Parameters
    ----------
    most_bytes : int
        For all users together. A single user may always hold one picture within the limits.
    """

    def __init__(self, most_bytes: int, /) -> None:
        self.most_bytes = most_bytes
        self._held: dict[weakref.ref[Holder], int] = {}
        self._lock = threading.RLock()  # reentrant: a user may be collected while it is held

    def hold(self, user: Holder, held_bytes: int, /) -> None:
        """Record what a user holds, and drop others until everything fits; busy users are kept."""
        with self._lock:
            key = weakref.ref(user, self._forget)
            self._held.pop(key, None)
            self._held[key] = held_bytes  # the newest comes last
            excess = sum(self._held.values()) - self.most_bytes
            for other in list(self._held)[:-1]:
                if excess <= 0:
                    break
                there = other()
                if there is None or there.release():
                    excess -= self._held.pop(other, 0)

    def _forget(self, key: weakref.ref[Holder]) -> None:
        with self._lock:
            self._held.pop(key, None)


def image_bytes(image: Image, /) -> int:
    """Bytes of an image in memory.

    Parameters
    ----------
    image : PIL image or array
    """
    if not hasattr(image, "convert"):
        return int(image.nbytes)
    if len(image.getbands()) > 1:  # Pillow keeps two to four bands in four bytes
        return int(image.width * image.height * 4)
    deep = {"I": 4, "F": 4}.get(image.mode, 2 if image.mode.startswith("I;16") else 1)
    return int(image.width * image.height * deep)
