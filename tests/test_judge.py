"""The judge's protocol: what is sent, what is asked again, what is not, and where the key goes."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

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


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The client's pauses, not waited for."""
    found: list[float] = []
    monkeypatch.setattr("openai._base_client.time.sleep", found.append)
    return found


def test_busy_endpoints_are_asked_again_after_growing_pauses(stub, waits):
    busy = (429, {}, complaint("slow down", code="rate_limit_exceeded"))
    stub.replies = [busy, (503, {}, "overloaded"), None, "8 7"]
    assert stub.judge().ask("", "").text == "8 7"
    assert len(stub.requests) == 4
    assert waits == sorted(waits)


def test_retry_after_is_honoured(stub, waits):
    stub.replies = [(429, {"Retry-After": "7"}, ""), "8 7"]
    stub.judge().ask("", "")
    assert waits == [7]


def test_patience_ends(stub, waits):
    stub.replies = [(500, {}, complaint("broken"))]
    with pytest.raises(JudgeError, match=r"/v1: HTTP 500: broken"):
        stub.judge(attempts=3).ask("", "")
    assert len(stub.requests) == 3
    assert len(waits) == 2


@pytest.mark.parametrize("body", ["{}", "<html>", '{"choices": []}', '{"choices": [{"message": {"content": null}}]}'])
def test_answers_without_text_are_refused(stub, body):
    stub.replies = [(200, {}, body)]
    with pytest.raises(JudgeError, match=r"an answer without `choices\[0\].message.content`"):
        stub.judge().ask("", "")


def test_a_model_that_refuses_temperature_is_asked_without(stub):
    refusal = complaint("Unsupported value: 'temperature'", code="unsupported_value", param="temperature")
    stub.replies = [(400, {}, refusal), "8 7", "6 5"]
    judge = stub.judge()
    assert [judge.ask("", "").text for _ in range(2)] == ["8 7", "6 5"]
    assert ["temperature" in request["body"] for request in stub.requests] == [True, False, False]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, complaint("This value is not supported with this model", code="unsupported_value", param="temperature")),
        (400, complaint("Temperature is not supported")),
        (422, json.dumps({"detail": [{"loc": ["body", "temperature"], "msg": "extra fields not permitted"}]})),
        (422, json.dumps({"error": "Input validation error: `temperature` must be strictly positive"})),
    ],
)
def test_temperature_is_refused_in_many_words(stub, status, body):
    stub.replies = [(status, {"Content-Type": "application/json"}, body), "8 7"]
    assert stub.judge().ask("", "").text == "8 7"


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "System role not supported",
        "Conversation roles must alternate user/assistant; the system role is not supported",
    ],
)
def test_a_model_without_a_system_role_gets_the_instruction_from_the_user(stub, message):
    refusal = (400, {}, complaint(message))
    stub.replies = [(400, {}, complaint("temperature must be 1")), refusal, "8 7", "6 5"]
    judge = stub.judge()
    assert [judge.ask("Be fair.", "Which?").text for _ in range(2)] == ["8 7", "6 5"]
    assert len(stub.requests) == 4
    for request in stub.requests[2:]:
        assert request["body"]["messages"] == [{"role": "user", "content": "Be fair.\n\nWhich?"}]
        assert "temperature" not in request["body"]
    stub.replies = [refusal]
    with pytest.raises(JudgeError, match="HTTP 400"):
        stub.judge().ask("Be fair.", "Which?")
    assert len(stub.requests) == 6


def test_threads_that_learn_of_a_refusal_together(stub):
    judge, together = stub.judge(), threading.Barrier(4)

    def reply(body):
        if "temperature" not in body:
            return "8 7"
        together.wait(30)
        return 400, {}, complaint("temperature must be 1")

    stub.replies = [reply]
    with ThreadPoolExecutor(4) as pool:
        assert [each.text for each in pool.map(lambda _: judge.ask("", ""), range(4))] == ["8 7"] * 4


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "8 7\nwhy"}],
        [{"type": "thinking", "thinking": "5 5"}, {"type": "text", "text": "8 7\n"}, {"type": "text", "text": "why"}],
        "<think>5 5\n</think>\n\n8 7\nwhy",
    ],
)
def test_what_was_said_in_parts_or_after_thinking(stub, content):
    stub.replies = [content]
    assert stub.judge().ask("", "").text == "8 7\nwhy"


def test_a_refusal_and_an_error_are_told(stub):
    stub.replies = [
        (200, {}, json.dumps({"choices": [{"message": {"content": None, "refusal": "I cannot."}}]})),
        (200, {}, json.dumps({"error": {"message": "overloaded"}})),
    ]
    for said in ("I cannot", "overloaded"):
        with pytest.raises(JudgeError, match=said):
            stub.judge().ask("", "")


@pytest.mark.parametrize("end", ["", "/chat/completions"])
def test_query_strings_are_sent(stub, end):
    stub.replies = ["8 7"]
    Judge("judge-1", f"{stub.url}{end}?user=me", key=KEY).ask("", "")
    assert stub.requests[0]["path"] == "/v1/chat/completions?user=me"


@pytest.mark.parametrize("key", [KEY, None])
def test_an_api_version_means_azure(stub, key):
    stub.replies = ["8 7"]
    url = stub.url.replace("/v1", "/openai/deployments/judge-1?api-version=2024-10-21")
    Judge("judge-1", url, key=key).ask("", "")
    (request,) = stub.requests
    assert request["path"] == "/openai/deployments/judge-1/chat/completions?api-version=2024-10-21"
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert headers.get("api-key") == key
    assert "authorization" not in headers


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, complaint("max_tokens is not supported")),
        (404, "no such model"),
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
    with pytest.raises(JudgeError, match=f"HTTP {status}"):
        stub.judge().ask("", "")
    assert len(stub.requests) == 1


def test_nobody_there_is_said(stub, waits):
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
        ({"attempts": 0}, "`attempts` must be an integer"),
        ({"timeout": 0}, "`timeout` must be a finite number"),
    ],
)
def test_a_judge_is_checked_at_once(options, says):
    with pytest.raises((ValueError, TypeError), match=says):
        Judge("judge-1", **{"url": "http://localhost", **options})
