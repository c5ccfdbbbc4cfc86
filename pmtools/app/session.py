"""One user of the page: the choices, and the result.

Users share only the model and the memory budget.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools.app import actions, answers, marks, pictures
from pmtools.app.actions import Magnified, Settings
from pmtools.app.answers import DemoAnswers, Reply
from pmtools.app.budget import Budget, image_bytes
from pmtools.app.marks import Mark
from pmtools.app.pictures import Limits, Picture

if TYPE_CHECKING:
    from pmtools.evaluation.scenes import SceneItem

_SAMPLE = (Mark("box", pictures.PATCH_XYXY),)
_MOST_UNDONE = 50  # changes: each holds the marks before it


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
    items : tuple of SceneItem
        Questions about the picture with their true answers, if the page made it.
    past : tuple of tuple of Mark
        The marks before each of the latest changes of marks.
    """

    picture: Picture
    settings: Settings = field(default_factory=Settings)
    marks: tuple[Mark, ...] = ()
    asking: bool = False
    reply: Reply | None = None
    items: tuple[SceneItem, ...] = ()
    past: tuple[tuple[Mark, ...], ...] = ()

    @property
    def questions(self) -> list[str]:
        """Questions that suit the picture."""
        return [item.question.text for item in self.items] or list(answers.QUESTIONS)

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
    lock : threading.RLock
        Hold it while using the session: a browser may send two events at once.
    released : bool
        Whether its pictures were dropped because others needed the memory; then it cannot be used.
    """

    choice: Choice
    magnified: Magnified
    answer: str

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
        self._choose(Choice(pictures.photograph(), marks=_SAMPLE))

    def open_scene(self) -> None:
        """Open the next scene, with the model's own settings."""
        picture, items = pictures.scene(self._scenes)
        self._scenes += 1
        self._choose(Choice(picture, answers.settings(), asking=True, items=items))

    def add(self, mark: Any, /) -> None:
        """Add a mark that the browser describes; the first replaces the mark that the photograph comes with."""
        added = marks.read_mark(mark, size_hw=self.choice.picture.size_hw)
        kept = () if self.choice.marks == _SAMPLE else self.choice.marks
        self._mark(marks.with_mark(kept, added))

    def clear(self) -> None:
        """Remove all marks."""
        self._mark(())

    def undo(self) -> None:
        """Take back the latest change of marks, if there is one and marks are what is seen."""
        if self.choice.past and not self.choice.asking:
            *past, latest = self.choice.past
            self._update(marks=latest, past=tuple(past))

    def follow(self, *, asking: bool) -> None:
        """Magnify where the model looked, or the marks."""
        self._update(asking=asking)

    def set(self, settings: Settings, /) -> None:
        """Change the settings."""
        self._update(settings=settings)

    def ask(self, question: str, /) -> None:
        """Ask the model about the picture, and about the picture magnified where it looked."""
        self._update(reply=self.model.ask(self.choice.picture.image, question), asking=True)

    def _mark(self, marked: tuple[Mark, ...]) -> None:
        if marked != self.choice.marks:
            past = (*self.choice.past, self.choice.marks)[-_MOST_UNDONE:]
            self._update(marks=marked, past=past, asking=False)

    def _update(self, **changes: Any) -> None:
        self._choose(replace(self.choice, **changes))

    def _choose(self, choice: Choice) -> None:
        most = self.limits.pixels
        magnified = actions.magnify_picture(choice.picture, choice.heatmap(), choice.settings, most_pixels=most)
        reply = choice.reply if choice.asking else None
        answer = "" if reply is None else self.model.answer(magnified.image, reply.question)
        self.choice, self.magnified, self.answer = choice, magnified, answer
        images = choice.picture.image, choice.picture.view, magnified.image
        self.budget.hold(self, sum(map(image_bytes, images)))
