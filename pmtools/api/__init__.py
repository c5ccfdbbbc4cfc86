"""A vision-language model behind an API: a magnified image on the way in, answers of the original on the way out.

`views` has the arithmetic of regions, budgets and undoing, `messages` the JSON of OpenAI's chat completions. The doors are thin:
`ask` for clients, `tools` for agents, `proxy` and `agents` for the commands of that name. Packages are imported when used.
"""

from __future__ import annotations

from pmtools.api.client import Reply, ask
from pmtools.api.marked_urls import mark_url, undo_marked
from pmtools.api.views import MAX_PIXELS, View, view

__all__ = ["MAX_PIXELS", "Reply", "View", "ask", "mark_url", "undo_marked", "view"]
