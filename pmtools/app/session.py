"""One user of the page: the choices, and the result.

Users share only the model and the memory budget.
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
from pmtools.app.answers import DemoAnswers, Reply
from pmtools.app.budget import Budget, image_bytes
from pmtools.app.marks import Mark
from pmtools.app.pictures import Limits, Picture


@dataclass(frozen=True)
class Choice:
    """All choices of a user.

    Attributes
    ----------
    picture : Picture
    settings : Settings
    marks : tuple of Mark
    asking : bool
        Whether to magnify where the model looked, instead of the marks.
    reply : Reply or None
        The model's latest reply about the picture.
    known : (str, str) or None
        A question about the picture and its true answer, if the page made both.
    """

    picture: Picture
    settings: Settings = field(default_factory=Settings)
    marks: tuple[Mark, ...] = ()
    asking: bool = False
    reply: Reply | None = None
    known: tuple[str, str] | None = None

    def heatmap(self) -> np.ndarray[Any, Any] | None:
        """The heatmap to magnify by; None without marks or a reply."""
        if self.asking:
            return None if self.reply is None else self.reply.heatmap
        return marks.heatmap_of(self.marks, size_hw=self.picture.size_hw)


class Session:
    """Actions of one user. A method that raises changes nothing.

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
        The result of the choice.
    answer : str
        The model's answer about the magnified picture; empty without a question.
    place : Place or None
        Where the user last pointed.
    lock : threading.RLock
        Hold it while using the session: a browser may send two events at once.
    released : bool
        Whether its pictures were dropped because others needed the memory; then it cannot be used.
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
        """Drop all pictures, unless an event is being handled; see `Holder`."""
        if not self.lock.acquire(blocking=False):
            return False
        try:
            self.released = True
            del self.choice, self.magnified
        finally:
            self.lock.release()
        return True

    def open(self, path: str | os.PathLike[str], /) -> None:
        """Open the image in a file."""
        picture = pictures.open_picture(path, limits=self.limits, uploads=self.uploads)
        self._choose(Choice(picture, self.choice.settings, asking=self.choice.asking))

    def open_photograph(self) -> None:
        """Open the photograph, with a mark on it and the default settings."""
        self._choose(Choice(pictures.photograph(), marks=(Mark("box", pictures.PATCH_XYXY),)))

    def open_scene(self) -> str:
        """Open the next scene, with the model's own settings; returns its question."""
        picture, question, truth = pictures.scene(self._scenes)
        self._scenes += 1
        self._choose(Choice(picture, answers.settings(), asking=True, known=(question, truth)))
        return question

    def add(self, mark: Any, /) -> None:
        """Add a mark that the browser describes."""
        added = marks.read_mark(mark, size_hw=self.choice.picture.size_hw)
        self._update(marks=marks.with_mark(self.choice.marks, added), asking=False)

    def undo(self) -> None:
        """Remove the latest mark."""
        self._update(marks=self.choice.marks[:-1])

    def clear(self) -> None:
        """Remove all marks."""
        self._update(marks=())

    def follow(self, *, asking: bool) -> None:
        """Magnify where the model looked, or the marks."""
        self._update(asking=asking)

    def set(self, settings: Settings, /) -> None:
        """Change the settings."""
        self._update(settings=settings)

    def ask(self, question: str, /) -> None:
        """Ask the model about the picture, and about the picture magnified where it looked."""
        self._update(reply=self.model.ask(self.choice.picture.image, question), asking=True)

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
        reply = choice.reply if choice.asking else None
        answer = "" if reply is None else self.model.answer(magnified.image, reply.question)
        self.choice, self.magnified, self.answer, self.place = choice, magnified, answer, None
        images = choice.picture.image, choice.picture.view, magnified.image
        self.budget.hold(self, sum(map(image_bytes, images)))
