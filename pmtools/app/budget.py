"""How much memory all users of the page may hold together: when it is too much, whoever came longest ago is let go."""

from __future__ import annotations

import threading
import weakref
from typing import Protocol

from pmtools.typing import Image


class Holder(Protocol):
    """A user whose pictures can be let go."""

    def release(self) -> bool:
        """Let everything go; False if the user is busy, so that nothing was let go."""


class Budget:
    """Bytes that users hold, least recently used first. Users who have left count for nothing.

    Parameters
    ----------
    most_bytes : int
        Of all users together. A single user may always hold what the limits of one picture allow.
    """

    def __init__(self, most_bytes: int, /) -> None:
        self.most_bytes = most_bytes
        self._held: dict[weakref.ref[Holder], int] = {}
        self._lock = threading.RLock()  # reentrant: a user may be collected while it is held

    def hold(self, user: Holder, held_bytes: int, /) -> None:
        """Note what a user holds now, and let others go until all fits; users who are busy stay."""
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
