"""A judge behind any OpenAI-compatible endpoint: one question at a time, patiently, counting tokens.

Knows HTTP and nothing of benchmarks. The key is sent to the endpoint that was named and nowhere else: redirects are
refused.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from pmtools import __version__, _checks

__all__ = ["Judge", "JudgeError", "Verdict"]

KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_URL = "https://api.openai.com/v1"
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_SPENT = {  # reported with status 429 too, but waiting does not help
    "billing_hard_limit_reached",
    "credit_balance_exhausted",
    "insufficient_quota",
    "organization_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "project_spend_limit_exceeded",
}
_LONGEST_WAIT = 120.0
_LARGEST_BODY = 16 * 2**20


class JudgeError(RuntimeError):
    """The endpoint did not give an answer; the message says what it said instead."""


class _Passing(Exception):
    """A failure that may be over the next time."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


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


@dataclass(frozen=True)
class Judge:
    """A chat model behind an endpoint.

    Attributes
    ----------
    model : str
    url : str
        Up to and with `/v1`, or the whole address of `chat/completions`.
    key : str or None
        Default: the environment variable OPENAI_API_KEY; a local server needs none.
    temperature : float or None
        None leaves it out, for models that take none.
    attempts : int
        How often a question is asked until the endpoint answers.
    timeout : float
        Seconds for each attempt.
    sleep, jitter : callable
        How to wait, and a random number in [0, 1); for tests.
    """

    model: str
    url: str = DEFAULT_URL
    key: str | None = field(default_factory=lambda: os.environ.get(KEY_VARIABLE) or None, repr=False)
    temperature: float | None = 0.0
    attempts: int = 6
    timeout: float = 120.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    jitter: Callable[[], float] = field(default=random.random, repr=False)

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"`url` must start with http:// or https:// and name a server, got {self.url!r}")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise ValueError(f"`key` must be printable ASCII without spaces; look at {KEY_VARIABLE}")
        _checks.whole_number(self.attempts, "attempts")
        _checks.real_number(self.timeout, "timeout", minimum=0, exclusive_minimum=True)

    @property
    def endpoint(self) -> str:
        """The address that is asked."""
        base = self.url.rstrip("/")
        return base if base.endswith("/chat/completions") else f"{base}/chat/completions"

    def ask(self, instruction: str, content: str, /) -> Verdict:
        """Ask once, again after a pause where the endpoint is busy or out of reach.

        Pauses double from one second and are drawn from the upper half; what the endpoint asks for (Retry-After) comes
        first, up to two minutes.

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
        messages = [{"role": "system", "content": instruction}, {"role": "user", "content": content}]
        body: dict[str, Any] = {"model": self.model, "messages": messages}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        for attempt in range(1, self.attempts + 1):
            try:
                return _read_verdict(self._post(json.dumps(body).encode()))
            except _Passing as error:
                if attempt == self.attempts:
                    raise JudgeError(f"{self.endpoint}: {error}, {attempt} times in a row") from None
                pause = min(2.0 ** (attempt - 1), 60.0) * (1 + self.jitter()) / 2
                self.sleep(min(_LONGEST_WAIT, pause if error.wait is None else max(error.wait, pause)))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": f"pmtools/{__version__}"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.endpoint, body, headers, method="POST")
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout) as response:
                return bytes(response.read(_LARGEST_BODY))
        except urllib.error.HTTPError as error:
            with error:
                self._refuse(error)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise _Passing(f"no answer ({getattr(error, 'reason', None) or error or type(error).__name__})") from None
        raise AssertionError("unreachable: _refuse raises")

    def _refuse(self, error: urllib.error.HTTPError) -> None:
        """Raise what an HTTP error means: to be tried again, or final."""
        message, codes = _complaint(error)
        if self.key:
            message = message.replace(self.key, "***")
        reason = f"HTTP {error.code}: {message}"
        if error.code in _PASSING and not codes & _SPENT:
            raise _Passing(reason, _seconds(error.headers.get("Retry-After")))
        hint = f"; set {KEY_VARIABLE}" if error.code == 401 and not self.key else ""
        raise JudgeError(f"{self.endpoint}: {reason}{hint}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another server: it is an error instead."""

    def redirect_request(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> None:
        """Nothing to go on with."""
        return


def _complaint(error: urllib.error.HTTPError) -> tuple[str, set[str]]:
    """What the endpoint says went wrong, and its codes for it."""
    text = error.read(65536).decode(errors="replace")
    try:
        details = json.loads(text)["error"]
        message = details["message"] if isinstance(details, dict) else details
        codes = {str(details.get(name)) for name in ("code", "type")} if isinstance(details, dict) else set()
    except (ValueError, KeyError, TypeError, RecursionError):
        message, codes = text or error.reason, set()
    return ascii(" ".join(str(message).split())[:300]).strip("'\""), codes


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After header in seconds: a number or a date."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def _read_verdict(body: bytes) -> Verdict:
    try:
        answer = json.loads(body)
        text = answer["choices"][0]["message"]["content"]
        if not isinstance(text, str):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise _Passing("an answer without `choices[0].message.content`") from None
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    tokens = [counts.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return Verdict(text, *(count if isinstance(count, int) else 0 for count in tokens))
