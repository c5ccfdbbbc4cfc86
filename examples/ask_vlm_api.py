"""Magnify once, ask a vision-language model behind an API, and take its box back to the photograph.

Any server with OpenAI's chat completions will do (vLLM, llama.cpp, Ollama, LM Studio, the hosted ones). The request is built with
the standard library. OPENAI_BASE_URL and OPENAI_API_KEY are read from the environment.

Run: python examples/ask_vlm_api.py photo.jpg 128,346,206,428 "What does the patch say?" --model NAME
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

import numpy as np
from PIL import Image

import pmtools

LONGEST_SIDE = 1024  # servers shrink what is larger, so shrink it here, in the same resampling that magnifies


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are errors: a key goes to the server it was given for and to no other."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


def magnify_once(photo: Image.Image, box_xyxy: list[float]) -> tuple[Image.Image, pmtools.Warp]:
    """The photograph magnified around a box, at the size that is sent; and the warp, to go back."""
    source_hw = (photo.height, photo.width)
    scale = min(1.0, LONGEST_SIDE / max(source_hw))
    target_hw = (max(1, round(photo.height * scale)), max(1, round(photo.width * scale)))
    heatmap = pmtools.heatmaps.from_boxes(box_xyxy, source_hw=source_hw)
    warp = pmtools.fit_warp(heatmap, source_hw=source_hw, target_hw=target_hw)
    return warp.image(photo), warp


def chat_request(image: Image.Image, question: str, *, model: str) -> dict[str, Any]:
    """The body of a chat completion about one image."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "PNG")  # no JPEG blocks on what was just magnified
    url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    return {"model": model, "temperature": 0, "messages": [{"role": "user", "content": content}]}


def ask(body: dict[str, Any], *, base_url: str, api_key: str, timeout: float = 120.0) -> str:
    """The answer of the server."""
    request = urllib.request.Request(
        base_url.rstrip("/") + "/chat/completions",
        data=json.dumps(body).encode("utf-8"),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {api_key}"},
    )
    with urllib.request.build_opener(NoRedirect).open(request, timeout=timeout) as response:
        answer: str = json.load(response)["choices"][0]["message"]["content"]
    return answer


def boxes_on_the_photograph(answer: str, warp: pmtools.Warp) -> np.ndarray:
    """Boxes [x0, y0, x1, y1] in 0..1000 that the answer names, in pixels of the photograph, shape (n, 4)."""
    return pmtools.answers.undo(answer, warp=warp, format="qwen3-vl").boxes_xyxy


def main(arguments: list[str]) -> None:
    """Ask, and print the answer and its boxes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo")
    parser.add_argument("box", help="x0,y0,x1,y1 in pixels: what to magnify")
    parser.add_argument("question")
    parser.add_argument("--model", required=True)
    options = parser.parse_args(arguments)

    photo = pmtools.io.read_image(options.photo)
    magnified, warp = magnify_once(photo, [float(v) for v in options.box.split(",")])
    base_url = os.environ.get("OPENAI_BASE_URL", "http://localhost:8000/v1")
    body = chat_request(magnified, options.question, model=options.model)
    try:
        answer = ask(body, base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{base_url} answered {error.code}: {error.read().decode('utf-8', 'replace')[:500]}") from None
    except urllib.error.URLError as error:
        raise SystemExit(f"no answer from {base_url}: {error.reason}; set OPENAI_BASE_URL") from None
    print(answer)
    for box in boxes_on_the_photograph(answer, warp):
        print("on the photograph:", box.round(1).tolist())


if __name__ == "__main__":
    main(sys.argv[1:])
