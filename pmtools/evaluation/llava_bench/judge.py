"""A judge behind any OpenAI-compatible endpoint, by OpenAI's own client, counting tokens.

Knows nothing of benchmarks. The key is sent to the endpoint that was named and nowhere else: redirects are refused.
"""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pmtools import _checks

__all__ = ["Judge", "JudgeError", "Verdict"]

KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_URL = "https://api.openai.com/v1"


class JudgeError(RuntimeError):
    """The endpoint did not give an answer; the message says what it said instead."""


@dataclass(frozen=True)
class Verdict:
    """What the judge wrote, and how many tokens that took.

    Attributes
    ----------
    text : str
    prompt_tokens, completion_tokens : int
        0 where the endpoint does not count.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Judge:
    """A chat model behind an endpoint; several threads may ask it.

    A model that refuses a temperature is asked without from then on, and one that takes no system message gets the
    instruction at the head of the user's.

    Attributes
    ----------
    model : str
    url : str
        Up to and with `/v1`, or the whole address of `chat/completions`. A query string is sent with every question;
        one with `api-version` makes it an endpoint of Azure.
    key : str or None
        Default: the environment variable OPENAI_API_KEY; a local server needs none.
    temperature : float or None
        None leaves it out.
    attempts : int
        How often a question is asked until the endpoint answers.
    timeout : float
        Seconds for each attempt.

    Raises
    ------
    TypeError, ValueError
        If one of them cannot be used; the message names it.
    ImportError
        If the `openai` package is not installed.
    """

    model: str
    url: str = DEFAULT_URL
    key: str | None = field(default_factory=lambda: os.environ.get(KEY_VARIABLE) or None, repr=False)
    temperature: float | None = 0.0
    attempts: int = 6
    timeout: float = 120.0
    _refused: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"`url` must start with http:// or https:// and name a server, got {self.url!r}")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise ValueError(f"`key` must be printable ASCII without spaces; look at {KEY_VARIABLE}")
        _checks.whole_number(self.attempts, "attempts")
        _checks.real_number(self.timeout, "timeout", minimum=0, exclusive_minimum=True)
        try:
            import openai  # noqa: F401
        except ImportError as error:
            raise ImportError("a judge needs OpenAI's client: pip install 'pmtools[api]'") from error

    def ask(self, instruction: str, content: str, /) -> Verdict:
        """Ask once; the client asks again, after growing pauses, where the endpoint is busy or out of reach.

        Parameters
        ----------
        instruction : str
            The system message.
        content : str
            The user's message.

        Returns
        -------
        Verdict

        Raises
        ------
        JudgeError
            If the endpoint refuses, or is still not there after all attempts.
        """
        import openai

        refused = self._refused  # of this question: other threads may learn of a refusal meanwhile
        while True:
            request = self._request(instruction, content, refused)
            try:
                answer = self._client.chat.completions.create(**request)
            except (openai.APIResponseValidationError, json.JSONDecodeError):
                return self._read_verdict(None)
            except openai.APIStatusError as error:
                less = self._refused_in(error, request)
                if less is None:
                    hint = f"; set {KEY_VARIABLE}" if error.status_code == 401 and not self.key else ""
                    raise self._refusal(f"HTTP {error.status_code}: {_complaint(error)}{hint}") from None
                refused |= {less}
            except openai.APIConnectionError as error:
                reason = error.__cause__ or error
                raise self._refusal(
                    f"no answer ({str(reason) or type(reason).__name__}), {self.attempts} times in a row"
                ) from None
            else:
                self._refused |= refused
                return self._read_verdict(answer)

    def _request(self, instruction: str, content: str, refused: frozenset[str]) -> dict[str, Any]:
        """What is sent, without what the model has refused."""
        import openai

        messages = [{"role": "system", "content": instruction}, {"role": "user", "content": content}]
        if "system" in refused:
            messages = [{"role": "user", "content": f"{instruction}\n\n{content}"}]
        request: dict[str, Any] = {"model": self.model, "messages": messages}
        if self.temperature is not None and "temperature" not in refused:
            request["temperature"] = self.temperature
        if not self.key or isinstance(self._client, openai.AzureOpenAI):  # Azure's key is another header
            unsent = ("Authorization",) if self.key else ("Authorization", "api-key")
            request["extra_headers"] = dict.fromkeys(unsent, openai.Omit())
        return request

    @staticmethod
    def _refused_in(error: Any, request: dict[str, Any]) -> str | None:
        """What the endpoint refuses of a request and the judge can do without."""
        if error.status_code not in (400, 422):
            return None
        said = error.response.text.lower()
        sent = {"temperature": "temperature" in request, "system": len(request["messages"]) == 2}
        return next((name for name, was_sent in sent.items() if was_sent and name in said), None)

    def _read_verdict(self, answer: Any) -> Verdict:
        try:
            message = answer.choices[0].message
            text = _text_of(message.content)
        except (AttributeError, IndexError, TypeError):
            message = text = None
        if text is None:
            said = getattr(message, "refusal", None) or getattr(answer, "error", None)
            reason = f": {ascii(said)[:300]}" if said else ""
            raise self._refusal(f"an answer without `choices[0].message.content`{reason}")
        tokens = [getattr(answer.usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
        return Verdict(text, *(count if isinstance(count, int) else 0 for count in tokens))

    def _refusal(self, reason: str) -> JudgeError:
        return JudgeError(f"{self.url}: {reason.replace(self.key, '***') if self.key else reason}")

    @cached_property
    def _client(self) -> Any:
        import openai

        parts = urllib.parse.urlsplit(self.url)
        path = parts.path.rstrip("/").removesuffix("/chat/completions")
        query = dict(urllib.parse.parse_qsl(parts.query))
        options: dict[str, Any] = {
            "base_url": urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, "", "")),
            "api_key": self.key or "none",
            "max_retries": self.attempts - 1,
            "timeout": self.timeout,
            "http_client": openai.DefaultHttpxClient(follow_redirects=False),
        }
        if version := query.pop("api-version", None):
            return openai.AzureOpenAI(**options, api_version=version, default_query=query)
        return openai.OpenAI(**options, default_query=query)


def _text_of(content: Any) -> str | None:
    """What a message says, in one piece or in parts, without what the model thought before it; None where it says nothing."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "".join(part for part in parts if isinstance(part, str)) if parts else None
    if not isinstance(content, str):
        return None
    return re.sub(r"\A\s*<think>.*?</think>\s*", "", content, flags=re.DOTALL)


def _complaint(error: Any) -> str:
    """What the endpoint says went wrong."""
    body = error.body.get("message", error.body) if isinstance(error.body, dict) else error.body
    text = body or error.response.text or error.response.reason_phrase
    return ascii(" ".join(str(text).split())[:300]).strip("'\"")
