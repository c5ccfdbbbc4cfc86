"""`pmtools eval`: benchmarks answered by a model with several methods, resumably."""

from __future__ import annotations

import typer

from pmtools.cli.eval import llava_bench, mme, pope, reading, scenes
from pmtools.cli.examples import examples

app = typer.Typer(help="Answer a benchmark with several methods, resumably, and score the answers.")


@app.callback(invoke_without_command=True)
def _evaluate(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command(epilog=examples("eval scenes"))(scenes.scenes)
app.command(epilog=examples("eval reading"))(reading.reading)
app.command(epilog=examples("eval mme"))(mme.mme)
app.command(epilog=examples("eval pope"))(pope.pope)
app.command(epilog=examples("eval llava-bench"))(llava_bench.llava_bench)
