"""Several answerers as one: each method goes to the first that has it.

Knows neither models nor methods, only their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pmtools.evaluation.resumable import Answerer

__all__ = ["Routes"]


class Routes:
    """Sends each method to the first answerer that has it; an `Answerer` itself.

    Parameters
    ----------
    *routes : (collection of str, Answerer)
        Names of methods, and what answers with them.

    Attributes
    ----------
    setup : dict
        What the answers of all of them depend on.

    Examples
    --------
    >>> yes = lambda items, methods: {method: ["yes"] * len(items) for method in methods}
    >>> no = lambda items, methods: {method: ["no"] * len(items) for method in methods}
    >>> Routes((["a"], yes), (["a", "b"], no))(["item"], ["a", "b"])
    {'a': ['yes'], 'b': ['no']}
    """

    def __init__(self, *routes: tuple[Sequence[str] | Mapping[str, Any], Answerer]) -> None:
        self.routes = routes
        self.setup: dict[str, Any] = {}
        for _, answer in routes:
            self.setup |= getattr(answer, "setup", {})

    def __call__(self, items: Sequence[Any], methods: Sequence[str], /) -> dict[str, list[str]]:
        """Replies per method, in the order of the items."""
        left, replies = list(methods), dict[str, list[str]]()
        for names, answer in self.routes:
            mine = [method for method in left if method in names]
            left = [method for method in left if method not in names]
            if mine:
                replies |= answer(items, mine)
        if left:
            raise ValueError(f"`methods` must be known to a route, got {left}")
        return replies
