"""LLaVA-Bench: scores by hand, readers of both releases, and a judge played by a local server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmtools.evaluation.judge import Judge, JudgeError, Verdict
from pmtools.evaluation.llava_bench import Review, score_llava_bench
from pmtools.evaluation.llava_bench_files import OpenQuestion, read_llava_bench
from pmtools.evaluation.llava_bench_reviews import (
    PROMPT,
    count_tokens,
    judge_content,
    read_reviews,
    read_scores,
    review_answers,
)
from pmtools.evaluation.questions import Question
from pmtools.evaluation.records import RecordError

KEY = "sk-not-a-key"


def write_lines(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Stub:
    """A local endpoint that replays replies and keeps what it was sent. A reply is text, or (status, headers, body)."""

    def __init__(self) -> None:
        self.replies: list = []
        self.requests: list[dict] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
                reply = stub.replies.pop(0) if len(stub.replies) > 1 else stub.replies[0]
                if reply is None:  # hang up
                    self.connection.close()
                    return
                status, headers, text = reply if isinstance(reply, tuple) else (200, {}, completion(reply))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self.waits: list[float] = []

    def judge(self, **options) -> Judge:
        options = {"key": KEY, "sleep": self.waits.append, "jitter": lambda: 1.0, **options}
        return Judge("judge-1", self.url, **options)


def completion(text: str, tokens=(100, 20)) -> str:
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage})


def complaint(message: str, **codes: str) -> str:
    return json.dumps({"error": {"message": message, **codes}})


@pytest.fixture
def stub(monkeypatch) -> Iterator[Stub]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    stub = Stub()
    thread = threading.Thread(target=stub.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield stub
    stub.server.shutdown()
    stub.server.server_close()
    thread.join()


# Scores


def test_sums_are_divided_and_not_ratios_averaged():
    reviews = [Review("conv", 10, 5), Review("conv", 2, 4), Review("detail", 8, 8)]
    score = score_llava_bench(reviews)
    assert score.overall == pytest.approx(100 * 17 / 20)
    assert score.categories == {"conv": pytest.approx(75.0), "detail": 100.0}
    assert score.n == 3
    low, high = score.intervals["overall"]
    assert low < score.overall < high
    assert score.intervals["detail"] == (100.0, 100.0)


def test_a_model_as_good_as_the_reference_has_no_spread():
    score = score_llava_bench([Review("conv", k, k) for k in range(1, 11)])
    assert (score.overall, score.intervals["overall"]) == (100.0, (100.0, 100.0))


def test_a_score_needs_reviews_and_a_reference_above_zero():
    with pytest.raises(ValueError, match="`reviews` must not be empty"):
        score_llava_bench([])
    with pytest.raises(RecordError, match="all 0 in conv"):
        score_llava_bench([Review("conv", 0, 5), Review("detail", 5, 5)])


@pytest.mark.parametrize(
    ("review", "scores"),
    [
        ("8 7\nBoth are good.", (8, 7)),
        ("8.5, 10", (8.5, 10)),
        ("\n 3 4 \n9 9", (3, 4)),
        ("**8 7**", (8, 7)),
        ("[8, 7]", (8, 7)),
        ("8", None),
        ("8 7 6", None),
        ("87", None),
        ("8 11", None),
        ("-8 7", None),
        ("Assistant 1: 8, Assistant 2: 7", None),
        ("Eight and seven.\n8 7", None),
        ("", None),
    ],
)
def test_two_numbers_on_the_first_line_are_scores(review, scores):
    assert read_scores(review) == scores


def test_reviews_are_read_in_the_published_form(tmp_path):
    rows = [
        {"id": 1, "question_id": 0, "category": "llava_bench_conv", "content": "8 6\n..", "tuple": [8.0, 6.0]},
        {"id": 2, "question_id": 1, "category": "llava_bench_detail", "content": "9 9\n..", "tuple": [9, 9.5]},
    ]
    found, skipped = read_reviews(write_lines(tmp_path / "r.jsonl", rows))
    assert [(r.category, r.reference, r.model) for r in found] == [
        ("llava_bench_conv", 8, 6),
        ("llava_bench_detail", 9, 9.5),
    ]
    assert skipped == 0


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"tuple": [8, 6, 1]}, r"r.jsonl:2: `tuple` must be \[reference, model\], two numbers, got \[8, 6, 1\]"),
        ({"tuple": ["8", 6]}, "two numbers"),
        ({"tuple": [True, 6]}, "two numbers"),
        ({"tuple": None}, "two numbers, got None"),
        ({"tuple": [-1, -1]}, r"r.jsonl:2: the judge gave no scores, \[-1, -1\]; give skip_unread=True"),
        ({"tuple": [8, -1]}, r"scores from 0 to 10, got \[8, -1\]"),
        ({"tuple": [11, 1]}, "scores from 0 to 10"),
        ({"tuple": [1e999, 1]}, "Infinity is no JSON number"),
        ({"category": 3}, "`category` must be a string, got 3"),
        ({"question_id": "1"}, r"r.jsonl:2: the question '1' is reviewed at .*r.jsonl:1 already"),
    ],
)
def test_malformed_reviews_say_where(tmp_path, row, says):
    good = {"question_id": 1, "category": "conv", "tuple": [8, 6]}
    with pytest.raises(RecordError, match=says):
        read_reviews(write_lines(tmp_path / "r.jsonl", [good, {**good, "question_id": 2, **row}]))


def test_reviews_without_scores_may_be_left_out(tmp_path):
    rows = [{"category": "conv", "tuple": pair} for pair in ([-1, -1], [8, 4], [-1, -1])]
    found, skipped = read_reviews(write_lines(tmp_path / "r.jsonl", rows), skip_unread=True)
    assert (len(found), skipped) == (1, 2)
    with pytest.raises(RecordError, match="none of the 1 reviews has scores"):
        read_reviews(write_lines(tmp_path / "r.jsonl", rows[:1]), skip_unread=True)


# Readers


def wild(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    write_lines(
        folder / "questions.jsonl",
        [
            {"question_id": 0, "image": "001.jpg", "text": "What is it?", "category": "conv"},
            {"question_id": 1, "image": "002.jpg", "text": "Describe it.", "category": "detail"},
        ],
    )
    write_lines(
        folder / "context.jsonl",
        [
            {"id": "002", "image": "002.jpg", "caption": "A lake."},
            {"id": "001", "image": "001.jpg", "caption": "A hat."},
        ],
    )
    write_lines(
        folder / "answers_gpt4.jsonl",
        [{"question_id": 1, "text": "Water."}, {"question_id": 0, "text": "Headgear.", "answer_id": "x"}],
    )
    return folder


def test_the_release_in_the_wild_is_joined_by_id_and_picture(tmp_path):
    hat, lake = read_llava_bench(wild(tmp_path))
    assert (hat.question.text, hat.context, hat.reference, hat.prompt) == ("What is it?", "A hat.", "Headgear.", None)
    assert (lake.question.category, lake.context, lake.reference) == ("detail", "A lake.", "Water.")


def test_the_coco_release_has_captions_and_boxes(tmp_path):
    row = {"question_id": "0", "image": "000000000042.jpg", "text": "What?", "category": "complex"}
    write_lines(tmp_path / "qa90_questions.jsonl", [row])
    box = {"category": "dog", "bbox": [0.1, 0.2, 0.3, 0.4]}
    told = {"image": "COCO_val2014_000000000042.jpg", "captions": ["A dog.", "One dog."], "instances": [box]}
    write_lines(tmp_path / "caps_boxes_coco2014_val_80.jsonl", [told])
    write_lines(tmp_path / "qa90_gpt4_answer.jsonl", [{"question_id": "0", "text": "A dog."}])
    (tmp_path / "rule.json").write_text(json.dumps({"complex": {"role": "Assistant", "prompt": "Judge!"}}))
    (item,) = read_llava_bench(tmp_path)
    assert item.context == "A dog.\nOne dog.\n\ndog: [0.1, 0.2, 0.3, 0.4]"
    assert (item.role, item.prompt) == ("Assistant", "Judge!")
    assert judge_content(item, "A cat.").startswith("[Context]\nA dog.\nOne dog.")


def test_rules_in_the_wild_have_their_prefix(tmp_path):
    rule = {"role": "Assistant", "prompt": "Judge!"}
    (wild(tmp_path) / "rule.json").write_text(
        json.dumps({"conv": {**rule, "prompt": "Other"}, "llava_bench_conv": rule})
    )
    assert [item.prompt for item in read_llava_bench(tmp_path)] == ["Judge!", None]


@pytest.mark.parametrize(
    ("name", "rows", "says"),
    [
        ("context.jsonl", [{"image": "001.jpg", "caption": "A hat."}], "context.jsonl has nothing for the question 1"),
        ("answers_gpt4.jsonl", [{"question_id": 0, "text": ""}], "answers_gpt4.jsonl has nothing for the question 1"),
        ("context.jsonl", [{"image": "001.jpg", "caption": 7}], "context.jsonl:1: `caption` or `captions` must be"),
        ("context.jsonl", [{"image": "1", "caption": "", "instances": [1]}], "`instances` must be a list of objects"),
        (
            "questions.jsonl",
            [{"question_id": 0, "image": "001.jpg", "text": "?", "category": "conv"}] * 2,
            "differ from",
        ),
        ("rule.json", [[1]], "must hold, for each category, an object with `role` and `prompt`"),
    ],
)
def test_a_malformed_release_says_where(tmp_path, name, rows, says):
    write_lines(wild(tmp_path) / name, rows)
    with pytest.raises(RecordError, match=says):
        read_llava_bench(tmp_path)


def test_an_empty_folder_names_the_files(tmp_path):
    with pytest.raises(
        RecordError, match=r"has no qa90_questions.jsonl and no .* of LLaVA-Bench \(COCO; questions.jsonl"
    ):
        read_llava_bench(tmp_path)


# The judge


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


# Reviews


def items() -> list[OpenQuestion]:
    return [
        OpenQuestion(Question(str(k), f"{k}.jpg", f"What is {k}?", "conv"), f"It is {k}.", f"{k}!") for k in range(3)
    ]


def test_each_answer_is_judged_after_its_reference(stub, tmp_path):
    stub.replies = ["8 6\nGood.", "9 9", "7 1"]
    review_answers(items(), ["zero", "one", "two"], stub.judge(), tmp_path / "deep" / "r.jsonl")
    found, _ = read_reviews(tmp_path / "deep" / "r.jsonl")
    assert [(r.question_id, r.reference, r.model) for r in found] == [("0", 8, 6), ("1", 9, 9), ("2", 7, 1)]
    asked = stub.requests[1]["body"]["messages"][1]["content"]
    assert asked == (
        "[Context]\nIt is 1.\n\n[Question]\nWhat is 1?\n\n[Assistant 1]\n1!\n\n[End of Assistant 1]\n\n"
        f"[Assistant 2]\none\n\n[End of Assistant 2]\n\n[System]\n{PROMPT}\n\n"
    )
    assert count_tokens(tmp_path / "deep" / "r.jsonl") == (300, 60)


def test_reviewing_goes_on_where_it_stopped(stub, tmp_path):
    path = tmp_path / "r.jsonl"
    stub.replies = ["8 6", "9 9", (400, {}, complaint("stop"))]
    with pytest.raises(JudgeError, match="stop"):
        review_answers(items(), ["zero", "one", "two"], stub.judge(), path)
    with path.open("a") as lines:
        lines.write('{"question_id": "2", "tup')  # killed while writing
    stub.requests.clear()
    stub.replies = ["7 1"]
    steps = []
    review_answers(items(), ["zero", "one", "two"], stub.judge(), path, progress=lambda: steps.append(1))
    assert len(stub.requests) == 1
    assert len(steps) == 3
    assert [r.question_id for r in read_reviews(path)[0]] == ["0", "1", "2"]


@pytest.mark.parametrize("change", ["reply", "judge", "published"])
def test_reviews_of_something_else_are_not_mixed_in(stub, tmp_path, change):
    path = tmp_path / "r.jsonl"
    stub.replies = ["8 6"]
    review_answers(items(), ["zero", "one", "two"], stub.judge(), path)
    if change == "published":
        write_lines(path, [{"question_id": 0, "category": "conv", "tuple": [1, 1]}])
    replies = ["zero", "one", "TWO" if change == "reply" else "two"]
    judge = Judge("judge-2" if change == "judge" else "judge-1", stub.url)
    with pytest.raises(RecordError, match=r"r.jsonl:\d: this review is of another answer, question or judge"):
        review_answers(items(), replies, judge, path)


def test_a_judge_that_gives_no_scores_is_asked_again_and_then_marked(stub, tmp_path):
    path = tmp_path / "r.jsonl"
    stub.replies = ["Both are fine.", "8 6", "Hm.", "Hm.", "I cannot.", "9 9"]
    review_answers(items(), ["zero", "one", "two"], stub.judge(), path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["tuple"] for row in rows] == [[8, 6], [-1, -1], [9, 9]]
    assert rows[1]["content"] == "I cannot."
    assert rows[1]["usage"] == {"prompt_tokens": 300, "completion_tokens": 60}


def test_reviewing_needs_a_reply_a_question(stub, tmp_path):
    with pytest.raises(ValueError, match="got 2 for 3 questions"):
        review_answers(items(), ["zero", "one"], stub.judge(), tmp_path / "r.jsonl")


# The command


def run(*arguments: object, code: int = 0, command: str = "score", **environment: str):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from pmtools.cli.application import app

    arguments = (command, "llava-bench", *map(str, arguments))
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "80", **environment})
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def test_the_command_scores_reviews(tmp_path):
    rows = [{"category": "conv", "tuple": [8, 6]}, {"category": "detail", "tuple": [10, 9]}]
    path = write_lines(tmp_path / "r.jsonl", rows)
    report = json.loads(run("--reviews", path, "--json").stdout)
    assert report["overall"] == pytest.approx(100 * 15 / 18)
    assert report["categories"] == {"conv": 75.0, "detail": 90.0}
    lines = run("--reviews", path).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[:2] for line in lines if "overall" in line] == [["overall", "83.3"]]


def test_the_command_has_answers_judged_and_counts_the_cost(stub, tmp_path):
    data = wild(tmp_path / "data")
    answers = [
        {"question_id": 1, "prompt": "Describe it.", "text": "A sea."},
        {"question_id": 0, "prompt": "What is it?", "text": "A cap."},
    ]
    answers = write_lines(tmp_path / "a.jsonl", answers)
    stub.replies = ["8 4", "10 9"]
    options = ["--reviews", tmp_path / "r.jsonl", "--data", data, "--answers", answers, "--judge-model", "judge-1"]
    options += ["--judge-url", stub.url, "--judge-prices", "2.5,10"]
    report = json.loads(run(*options, "--json", OPENAI_API_KEY=KEY).stdout)
    assert report["categories"] == {"conv": 50.0, "detail": 90.0}
    assert report["tokens"] == {"prompt": 200, "completion": 40}
    assert report["cost"] == pytest.approx((200 * 2.5 + 40 * 10) / 1e6)
    assert "A cap." in stub.requests[0]["body"]["messages"][1]["content"]
    result = run(*options, OPENAI_API_KEY=KEY)
    assert len(stub.requests) == 2  # all reviewed already
    assert "200 + 40 tokens, cost 0.0009" in result.stderr
    assert KEY not in (tmp_path / "r.jsonl").read_text()


def test_the_command_refuses_in_one_line(stub, tmp_path):
    path = write_lines(tmp_path / "r.jsonl", [{"category": "conv", "tuple": [-1, -1]}])
    assert "--skip-unread" in run("--reviews", path, code=1).stderr
    assert "none of the 1 reviews" in run("--reviews", path, "--skip-unread", code=1).stderr
    assert "No such file" in run("--reviews", tmp_path / "none.jsonl", code=1).stderr
    assert (
        "needs all of --data, --answers and --judge-model" in run("--reviews", path, "--answers", path, code=2).stderr
    )
    assert "must be IN,OUT" in run("--reviews", path, "--judge-prices", "2.5", code=2).stderr
    answers = write_lines(tmp_path / "a.jsonl", [{"question_id": k, "text": "?"} for k in (0, 1)])
    judged = ["--data", wild(tmp_path / "d"), "--answers", answers, "--judge-model", "m", "--reviews", tmp_path / "new"]
    assert "--judge-url must start with http" in run(*judged, "--judge-url", "localhost", code=2).stderr
    stub.replies = [(404, {}, complaint("no such model"))]
    assert "HTTP 404: no such model" in run(*judged, "--judge-url", stub.url, code=1).stderr
    write_lines(answers, [{"question_id": 0, "text": "?"}])
    assert "1 answer missing" in run(*judged, "--judge-url", stub.url, code=1).stderr


# Answers and reviews in one command


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A tiny random LLaVA, as `from_pretrained` reads it."""
    pytest.importorskip("transformers")
    from pmtools.testing.models import tiny_model, tiny_processor

    path = tmp_path_factory.mktemp("model")
    tiny = tiny_model()
    tiny.save_pretrained(path)
    tiny_processor(tiny).save_pretrained(path)
    return path


def pictured(folder: Path) -> Path:
    """The release of `wild` with its pictures."""
    (wild(folder) / "images").mkdir()
    for k, name in enumerate(("001.jpg", "002.jpg")):
        noise = np.random.default_rng(k).integers(0, 256, (48, 60, 3), np.uint8)
        Image.fromarray(noise).save(folder / "images" / name)
    return folder


def test_answers_are_made_judged_and_scored_and_nothing_twice(stub, tmp_path, model):
    from pmtools.decoding import METHODS
    from pmtools.testing.models import tiny_model, tiny_processor

    data, out = pictured(tmp_path / "data"), tmp_path / "out"
    options = ["--data", data, "--out", out, "--model", model, "--methods", "greedy,pm", "--max-new-tokens", 4]
    made = run(*options, "--json", command="eval")
    assert json.loads(made.stdout) == {"methods": {"greedy": {"n": 2}, "pm": {"n": 2}}}
    assert "give --judge-model" in made.stderr
    assert not stub.requests
    tiny = tiny_model()
    for method, settings in (("greedy", {}), ("pm", {"refresh": "every"})):
        decoder = METHODS[method](tiny_processor(tiny), **settings)
        said = [json.loads(line)["text"] for line in (out / "answers" / f"{method}.jsonl").read_text().splitlines()]
        asked = [(item.question, Image.open(data / "images" / item.question.image)) for item in read_llava_bench(data)]
        wanted = [decoder.generate(tiny, image, q.text, max_new_tokens=4, do_sample=False) for q, image in asked]
        assert said == wanted
    stub.replies = ["8 4", "10 9", "5 5", (404, {}, complaint("gone"))]
    judged = [*options, "--judge-model", "judge-1", "--judge-url", stub.url, "--judge-prices", "2.5,10"]
    assert "HTTP 404: gone" in run(*judged, command="eval", code=1).stderr
    stub.replies = ["10 5"]
    report = json.loads(run(*judged, "--json", command="eval").stdout)["methods"]
    assert len(stub.requests) == 5  # the three reviews before the refusal were kept
    assert report["greedy"]["categories"] == {"conv": 50.0, "detail": 90.0}
    assert report["greedy"]["overall"] == pytest.approx(100 * 13 / 18)
    assert report["pm"]["overall"] == pytest.approx(100 * 10 / 15)
    assert report["pm"]["tokens"] == {"prompt": 200, "completion": 40}
    assert report["pm"]["cost"] == pytest.approx((200 * 2.5 + 40 * 10) / 1e6)
    assert json.loads((out / "summary.json").read_text()) == {"judge": "judge-1", "methods": report}
    shown = run(*judged, command="eval")
    assert len(stub.requests) == 5
    rows = {line.split()[0]: line.split() for line in shown.stdout.splitlines() if line.split()}
    assert (rows["greedy"][1], rows["greedy"][-2:]) == ("72.2", ["50.0", "90.0"])
    alone = run("--reviews", out / "reviews" / "greedy.jsonl", "--json")  # the scorer takes them as they are
    assert json.loads(alone.stdout)["overall"] == report["greedy"]["overall"]


def test_the_model_is_not_loaded_for_nothing(tmp_path):
    data, out = pictured(tmp_path / "data"), tmp_path / "out"
    options = ["--data", data, "--out", out]
    assert "is no method" in run(*options, "--methods", "pn", command="eval", code=2).stderr
    assert (
        "--judge-url must start"
        in run(*options, "--judge-model", "j", "--judge-url", "here", command="eval", code=2).stderr
    )
    assert "must be IN,OUT" in run(*options, "--judge-prices", "1", command="eval", code=2).stderr
    (data / "images" / "002.jpg").unlink()
    assert "has no picture '002.jpg'" in run(*options, command="eval", code=1).stderr


def test_the_embedded_model_says_what_it_cannot_read(tmp_path):
    pytest.importorskip("transformers")
    refused = run("--data", pictured(tmp_path / "data"), "--out", tmp_path / "out", command="eval", code=2)
    assert "must use the demo model's words" in refused.stderr
