"""Fixtures of all tests: array namespaces, seeds, Hypothesis settings, photographs, a judge, a model."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from judge_stub import Stub

    from pmtools.zoo import DemoModel

settings.register_profile("default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# what a file of tests imports if it is about models or the site; `make test-core` runs the others where there is no torch
ABOUT_MODELS = re.compile(
    r"^(?:from|import) (?:torch|transformers|mkdocs|tiny\w*|pmtools\.testing\.models|pmtools\.zoo)\b", re.MULTILINE
)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if find_spec("torch") is not None or collection_path.suffix != ".py":
        return None
    return True if ABOUT_MODELS.search(collection_path.read_text("utf-8")) else None


#: The families in `make test`: one of each kind of grid, tile, mask and position. The others are slow tests.
QUICK = (
    *("llava", "llava_next", "qwen3_vl", "gemma3", "paligemma"),
    *("glm4v", "aya_vision", "gemma4", "deepseek_vl_hybrid"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        call = getattr(item, "callspec", None)
        if call is not None and call.params.get("family", QUICK[0]) not in QUICK:
            item.add_marker(pytest.mark.slow)


def pytest_report_header() -> str | None:
    return None if find_spec("torch") else "torch is not installed: tests about models are left out"


class Namespace(NamedTuple):
    """An array library under test: how to get in and out of it."""

    name: str
    asarray: Callable[[Any], Any]
    numpy: Callable[[Any], np.ndarray]
    kind: type


def _namespaces() -> list[Namespace]:
    import array_api_strict

    strict = Namespace("strict", array_api_strict.asarray, np.asarray, type(array_api_strict.asarray(0)))
    return [Namespace("numpy", _read_only, np.asarray, np.ndarray), strict, *_torch_namespaces()]


def _read_only(values: Any) -> np.ndarray:
    """An array that cannot be written to, as memory maps and JAX's views are: inputs are never changed."""
    array = np.array(values)
    array.flags.writeable = False
    return array


def _torch_namespaces() -> list[Namespace]:
    if find_spec("torch") is None:
        return []
    import torch

    torch.set_num_threads(1)  # pytest-xdist has a process for each core

    def on(device: str) -> Namespace:
        return Namespace(
            f"torch-{device}",
            lambda a: torch.as_tensor(np.ascontiguousarray(a), device=device),
            lambda t: t.detach().cpu().numpy(),
            torch.Tensor,
        )

    return [on("cpu"), on("cuda")] if torch.cuda.is_available() else [on("cpu")]


@pytest.fixture(params=_namespaces(), ids=lambda namespace: namespace.name)
def xp(request: pytest.FixtureRequest) -> Namespace:
    """One array library after the other."""
    return request.param


@pytest.fixture
def torch() -> ModuleType:
    """The package, for the tests of the core that compare with it."""
    return pytest.importorskip("torch")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A photograph, uint8 (512, 512, 3)."""
    from skimage import data

    return data.astronaut()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A judge's endpoint on this machine."""
    pytest.importorskip("openai", reason="a judge needs OpenAI's client: pip install 'pmtools[api]'")
    from judge_stub import Stub

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    stub = Stub()
    thread = threading.Thread(target=stub.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield stub
    stub.server.shutdown()
    stub.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def random_demo(tmp_path_factory: pytest.TempPathFactory) -> DemoModel:
    """The demo model with random weights, sharpened so that attention is not flat, saved and loaded as the shipped one."""
    pytest.importorskip("torch", reason="the demo model needs torch: pip install 'pmtools[hf]'")
    import torch

    from pmtools import zoo
    from training import network, packaging

    torch.manual_seed(0)
    model = network.build_model()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "language_model" in name and ("q_proj" in name or "k_proj" in name):
                weight.mul_(4)
    folder = packaging.save_demo_model(model, tmp_path_factory.mktemp("model"), settings={"start_layer": 2})
    return zoo.demo_model(folder)
