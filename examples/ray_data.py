"""Ask a model behind an API about every image of a folder, with Ray Data: on this machine, or on a cluster.

Each image is magnified around its boxes by a worker that is free and sent to the server, and its answer is taken back to the
original image, while others are still being read. Answers and warps go into Parquet files. A worker that dies is replaced, and
its rows are done again.

Needs: pip install 'pmtools[api,pipelines]', and a server: vLLM, SGLang, `pmtools serve`, ...
Run: python examples/ray_data.py IMAGES BOXES.json OUTPUT --url http://127.0.0.1:8000/v1 --model NAME "What does the sign say?"
BOXES.json: {"photo.jpg": [[x0, y0, x1, y1], ...], ...}, in pixels; what is not in it is sent as it is.
"""

from __future__ import annotations

import argparse
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import ray
from PIL import Image
from ray.data.llm import HttpRequestProcessorConfig, build_processor

import pmtools
from pmtools import api
from pmtools.answers import undo
from pmtools.api.messages import user_message

Row = dict[str, Any]


def prepare(row: Row, *, boxes: dict[str, Any], model: str, question: str, format: str, max_pixels: int) -> Row:
    """The request about an image, magnified, and its warp: it travels in a column of its own."""
    image = Image.open(io.BytesIO(row["bytes"]))
    shown = api.view(image, boxes.get(Path(row["path"]).name), format=format, max_pixels=max_pixels)
    return {
        "path": row["path"],
        "warp": json.dumps(shown.warp.to_dict()),
        "payload": {"model": model, "messages": [user_message(shown.image, question)], "temperature": 0},
    }


def finish(row: Row, *, format: str) -> Row:
    """The answer in coordinates of the original image."""
    reply = row["http_response"]
    if "choices" not in reply:
        raise RuntimeError(f"{row['path']}: the server answered {reply}")
    raw = reply["choices"][0]["message"]["content"]
    answer = undo(raw, warp=pmtools.Warp.from_dict(json.loads(row["warp"])), format=format).text
    return {"path": row["path"], "answer": answer, "raw": raw, "warp": row["warp"]}


def answers(images: Path, boxes: dict[str, Any], *, url: str, format: str, concurrency: int, **options: Any) -> Any:
    """The data set of answers; nothing runs before it is read or written."""
    # for a model inside Ray, without a server: vLLMEngineProcessorConfig, with `messages` in the place of the payload
    config = HttpRequestProcessorConfig(
        url=f"{url}/chat/completions", concurrency=concurrency, batch_size=16, max_retries=5
    )
    ask = build_processor(
        config,
        preprocess=partial(prepare, boxes=boxes, format=format, **options),
        postprocess=partial(finish, format=format),
    )
    return ask(ray.data.read_binary_files(str(images), include_paths=True))


def main() -> None:
    """Read, magnify, ask and write, and print how many answers there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("boxes", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("question")
    parser.add_argument("--url", required=True, help="the server's address, with /v1")
    parser.add_argument("--model", required=True, help="the server's name for its model")
    parser.add_argument("--format", default="json", help="how the model writes coordinates: qwen3-vl, gemini, ...")
    parser.add_argument("--max-pixels", type=int, default=api.MAX_PIXELS)
    parser.add_argument("--concurrency", type=int, default=2, help="workers that send requests")
    parser.add_argument("--cpus", type=int, help="processors to use; on a cluster Ray knows")
    options = vars(parser.parse_args())
    images, boxes, output, cpus = (options.pop(name) for name in ("images", "boxes", "output", "cpus"))
    ray.init(num_cpus=cpus, include_dashboard=False, logging_level="ERROR")  # on a cluster: address="auto"
    try:
        answers(images, json.loads(boxes.read_text()), **options).write_parquet(str(output))
        print(f"{ray.data.read_parquet(str(output)).count()} answers in {output}")
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
