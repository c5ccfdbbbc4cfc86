"""One user of the page: what is chosen, and what follows from it.

Nothing is shared between users but the model and the memory that all may hold.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pmtools.app import actions, answers, marks, pictures
from pmtools.app.actions import Magnified, Place, Settings
from pmtools.app.answers import DemoAnswers, Heard
from pmtools.app.budget import Budget, image_bytes
from pmtools.app.marks import Mark
from pmtools.app.pictures import Limits, Picture


@dataclass(frozen=True)
class Choice:
    """All that a user chose.

    Attributes
    ----------
    picture : Picture
    settings : Settings
    marks : tuple of Mark
    asking : bool
        Whether to magnify what the model looked at, instead of what is marked.
    heard : Heard or None
        What the model last said about the picture.
    known : (str, str) or None
        A question about the picture and its true answer, where the page made both.
    """

    picture: Picture
    settings: Settings = field(default_factory=Settings)
    marks: tuple[Mark, ...] = ()
    asking: bool = False
    heard: Heard | None = None
    known: tuple[str, str] | None = None

    def heatmap(self) -> np.ndarray[Any, Any] | None:
        """What to magnify; None where nothing is marked or asked."""
        if self.asking:
            return None if self.heard is None else self.heard.heatmap
        return marks.heatmap_of(self.marks, size_hw=self.picture.size_hw)


class Session:
    """What one user does. A method that raises leaves everything as it was.

    Parameters
    ----------
    limits : Limits
    model : DemoAnswers
    uploads : Path
        Folder of uploaded files: no others are opened.
    budget : Budget
        Of all users.

    Attributes
    ----------
    choice : Choice
    magnified : Magnified
        What follows from it.
    answer : str
        The model's answer about the magnified picture; empty where nothing is asked.
    place : Place or None
        Where the user last pointed.
    lock : threading.RLock
        To hold while using the session: a browser may send two events at once.
    released : bool
        Whether its pictures were let go, since others needed the memory; it cannot be used then.
    """

    choice: Choice
    magnified: Magnified
    answer: str
    place: Place | None

    def __init__(self, limits: Limits, model: DemoAnswers, *, uploads: Path, budget: Budget) -> None:
        self.limits, self.model, self.lock = limits, model, threading.RLock()
        self.uploads, self.budget, self.released = uploads, budget, False
        self._scenes = 0
        self.open_photograph()

    def release(self) -> bool:
        """Let all pictures go, unless an event is being worked on; see `Holder`."""
        if not self.lock.acquire(blocking=False):
            return False
        try:
            self.released = True
            del self.choice, self.magnified
        finally:
            self.lock.release()
        return True

    def open(self, path: str | os.PathLike[str], /) -> None:
        """Take the image in a file."""
        picture = pictures.open_picture(path, limits=self.limits, uploads=self.uploads)
        self._choose(Choice(picture, self.choice.settings, asking=self.choice.asking))

    def open_photograph(self) -> None:
        """Take the photograph, with a mark on it and the usual settings."""
        self._choose(Choice(pictures.photograph(), marks=(Mark("box", pictures.PATCH_XYXY),)))

    def open_scene(self) -> str:
        """Take the next scene, with the model's own settings; its question."""
        picture, question, truth = pictures.scene(self._scenes)
        self._scenes += 1
        self._choose(Choice(picture, answers.settings(), asking=True, known=(question, truth)))
        return question

    def add(self, mark: Any, /) -> None:
        """Take a mark that the browser describes."""
        added = marks.read_mark(mark, size_hw=self.choice.picture.size_hw)
        self._update(marks=marks.with_mark(self.choice.marks, added), asking=False)

    def undo(self) -> None:
        """Take the latest mark back."""
        self._update(marks=self.choice.marks[:-1])

    def clear(self) -> None:
        """Take all marks back."""
        self._update(marks=())

    def follow(self, *, asking: bool) -> None:
        """Magnify what the model looked at, or what is marked."""
        self._update(asking=asking)

    def set(self, settings: Settings, /) -> None:
        """Take other settings."""
        self._update(settings=settings)

    def ask(self, question: str, /) -> None:
        """Ask the model about the picture, and about the picture magnified where it looked."""
        self._update(heard=self.model.ask(self.choice.picture.image, question), asking=True)

    def look(self, x: object, y: object, /, *, magnified: bool) -> None:
        """Find a place of one image on the other."""
        self.place = actions.place_on(self.magnified.warp, x, y, magnified=magnified)

    def _update(self, **changes: Any) -> None:
        place = self.place
        self._choose(replace(self.choice, **changes))
        if place is not None:  # it stays on the picture, though the warp has moved
            self.look(*place.source_xy, magnified=False)

    def _choose(self, choice: Choice) -> None:
        most = self.limits.pixels
        magnified = actions.magnify_picture(choice.picture, choice.heatmap(), choice.settings, most_pixels=most)
        heard = choice.heard if choice.asking else None
        answer = "" if heard is None else self.model.answer(magnified.image, heard.question)
        self.choice, self.magnified, self.answer, self.place = choice, magnified, answer, None
        images = choice.picture.image, choice.picture.view, magnified.image
        self.budget.hold(self, sum(map(image_bytes, images)))
