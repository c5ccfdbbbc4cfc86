"""What stands below the help of each command: examples that can be pasted, one line each."""

from __future__ import annotations

#: By command, without the program's name.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "magnify": (
        "pmtools magnify photo.jpg --box 128,346,206,428 -o large.jpg",
        "pmtools magnify photos --heatmap maps -o out --warp warps",
    ),
    "unmagnify": ("pmtools unmagnify large.jpg --warp warp.json -o back.jpg",),
    "coords": (
        "pmtools coords --warp warp.json --inverse --boxes boxes.json",
        "pmtools coords --warp warp.json --points points.csv",
    ),
    "show": ("pmtools show photo.jpg --box 128,346,206,428 -o show.png",),
    "score mme": ("pmtools score mme --questions mme.jsonl --answers answers.jsonl",),
    "score pope": ("pmtools score pope --questions pope.jsonl --answers answers.jsonl",),
    "score llava-bench": ("pmtools score llava-bench --reviews reviews.jsonl",),
    "score lmms-eval": ("pmtools score lmms-eval 262144 1048576",),
    "eval scenes": ("pmtools eval scenes --methods greedy,pm --limit 60 --out out",),
    "eval reading": ("pmtools eval reading --limit 60 --out out",),
    "eval mme": ("pmtools eval mme --data mme --model MODEL --out out",),
    "eval pope": ("pmtools eval pope --data pope --model MODEL --out out",),
    "eval llava-bench": ("pmtools eval llava-bench --data bench --judge-model NAME --out out",),
    "ask": (
        'pmtools ask photo.jpg "is there a red circle ?"',
        'pmtools ask photo.jpg "What is this?" --model MODEL --save out',
    ),
    "calibrate": (
        "pmtools calibrate --model MODEL --out look.json",
        "pmtools calibrate --questions questions.jsonl --out look.json",
    ),
    "demo": ("pmtools demo --questions 60 --out out",),
    "app": ("pmtools app --browser",),
    "serve": ("pmtools serve --model MODEL --method pm",),
    "proxy": ("pmtools proxy --upstream http://localhost:8000/v1",),
    "mcp": ("pmtools mcp photos",),
}


def examples(command: str, /) -> str:
    """The end of the help of a command, in Markdown."""
    lines = EXAMPLES[command]
    return "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *(f"- `{line}`" for line in lines)])
