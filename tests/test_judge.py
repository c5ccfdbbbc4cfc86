"""The judge's protocol: what is sent, what is asked again, what is not, and where the key goes."""

from __future__ import annotations

import pytest
from judge_stub import KEY, complaint

from pmtools.evaluation.llava_bench import Judge, JudgeError, Verdict


def test_the_request_is_the_published_protocol(stub):
    stub.replies = ["8 7"]
    assert stub.judge().ask("Be fair.", "Which?") == Verdict("8 7", 100, 20)
    (request,) = stub.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["headers"]["Authorization"] == f"Bearer {KEY}"
    assert request["body"] == {
        "model": "judge-1",
        "messages": [{"role": "system", "content": "Be fair."}, {"role": "user", "content": "Which?"}],
        "temperature": 0.0,
    }


def test_the_key_comes_from_the_environment_and_is_not_shown(stub, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    judge = Judge("judge-1", stub.url)
    assert judge.key == KEY
    assert KEY not in repr(judge)
    stub.replies = [(401, {}, complaint(f"Incorrect API key provided: {KEY}"))]
    with pytest.raises(JudgeError, match="HTTP 401: Incorrect API key provided") as caught:
        judge.ask("", "")
    assert KEY not in str(caught.value)


def test_no_key_is_fine_for_a_local_server_and_named_where_one_is_wanted(stub):
    stub.replies = ["8 7", (401, {}, complaint("no key"))]
    judge = stub.judge(key=None, temperature=None)
    judge.ask("", "")
    assert "Authorization" not in stub.requests[0]["headers"]
    assert "temperature" not in stub.requests[0]["body"]
    with pytest.raises(JudgeError, match="set OPENAI_API_KEY"):
        judge.ask("", "")


def test_busy_endpoints_are_asked_again_after_growing_pauses(stub):
    busy = (429, {}, complaint("slow down", code="rate_limit_exceeded"))
    stub.replies = [busy, (503, {}, "overloaded"), None, (200, {}, "{}"), (200, {}, "<html>"), "8 7"]
    assert stub.judge().ask("", "").text == "8 7"
    assert stub.waits == [1, 2, 4, 8, 16]
    assert len(stub.requests) == 6


def test_retry_after_is_honoured_up_to_a_limit(stub):
    waits = ({"Retry-After": value} for value in ("7", "100000", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "-1"))
    stub.replies = [*((429, headers, "") for headers in waits), "8 7"]
    stub.judge().ask("", "")
    assert stub.waits == [7, 120, 4, 8, 16]


def test_patience_ends(stub):
    stub.replies = [(500, {}, complaint("broken"))]
    with pytest.raises(JudgeError, match=r"/v1/chat/completions: HTTP 500: broken, 3 times in a row"):
        stub.judge(attempts=3).ask("", "")
    assert len(stub.requests) == 3
    assert len(stub.waits) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, complaint("temperature is not supported")),
        (404, "no such model"),
        (429, complaint("You exceeded your current quota", type="insufficient_quota", code="credit_balance_exhausted")),
        (429, complaint("quota", code="insufficient_quota")),
        (413, '{"error": "too large"}'),
    ],
)
def test_final_refusals_are_not_repeated(stub, status, body):
    stub.replies = [(status, {}, body)]
    with pytest.raises(JudgeError, match=f"HTTP {status}"):
        stub.judge().ask("", "")
    assert len(stub.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_does_not_follow_redirects(stub, status):
    stub.replies = [(status, {"Location": f"{stub.url}/elsewhere"}, "")]
    with pytest.raises(JudgeError, match=f"HTTP {status}"):  # urllib would ask again by GET, a 501 of the stub
        stub.judge().ask("", "")
    assert len(stub.requests) == 1


def test_nobody_there_is_said(stub):
    stub.server.server_close()
    with pytest.raises(JudgeError, match=r"no answer \(.*refused.*\), 2 times in a row"):
        stub.judge(attempts=2).ask("", "")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "api.openai.com/v1"}, "`url` must start with http"),
        ({"url": "file:///etc/passwd"}, "`url` must start with http"),
        ({"url": "http://"}, "name a server"),
        ({"key": "a\nb"}, "`key` must be printable ASCII"),
        ({"key": "clé"}, "`key` must be printable ASCII"),
        ({"attempts": 0}, "`attempts` must be a whole number"),
        ({"timeout": 0}, "`timeout` must be a finite number"),
    ],
)
def test_a_judge_is_checked_at_once(options, says):
    with pytest.raises((ValueError, TypeError), match=says):
        Judge("judge-1", **{"url": "http://localhost", **options})
