# `make demo` and `make test` do everything a fresh machine needs: .venv, install, run.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

FUZZ_SECONDS ?= 60
INSTALL := $(PY) -m pip install --quiet --constraint constraints.txt

.PHONY: demo app test test-families test-browser test-slow test-numpy test-lowest test-harness lint types docs bench fuzz clean

$(STAMP): pyproject.toml constraints.txt setup.py pmtools/_resample.c
	test -x $(PY) || python3 -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)  ## the embedded model answers, plain and magnified; pictures in out/demo/
	$(PY) -m pmtools demo --out out/demo

test: $(STAMP)  ## every test but the slow sweeps
	$(PY) -m pytest -n 2 -m "not slow"

test-slow: $(STAMP)  ## the slow ones: the built site, examples with datasets and Ray, wrapped models
	$(INSTALL) '.[pipelines,wrapped]'
	$(PY) -m pytest -n 2 -m slow --ignore tests/test_families.py

test-numpy: $(STAMP)  ## every test again without the compiled kernel
	PMTOOLS_KERNEL=numpy $(PY) -m pytest -n 2 -m "not slow"

test-lowest: $(STAMP)  ## the adapters on the lowest transformers that is supported
	test -x .venv-lowest/bin/python || python3 -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints.txt transformers==5.17.0 --editable '.[hf,test]'
	.venv-lowest/bin/python -m pytest -n 2 tests/test_attention.py tests/test_layouts.py tests/test_image_tokens.py \
		tests/test_streams.py tests/test_pm*.py tests/test_official_preset.py

test-harness: $(STAMP)  ## the adapter inside the real lmms-eval, without its dependencies: it asks for torchvision
	test -x .venv-harness/bin/python || python3 -m venv .venv-harness
	.venv-harness/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv-harness/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[hf,test]' --requirement tests/harness.txt
	.venv-harness/bin/python -m pip install --quiet --no-deps lmms-eval==0.7.3
	.venv-harness/bin/python -m pytest -n 2 tests/test_lmms_eval.py

test-families: .venv-families  ## every family of models that transformers has a processor for, with both image back ends
	PYTHONPATH=tests .venv-families/bin/python -m pytest -n 2 -p torchvision_stub tests/test_families.py

.venv-families: pyproject.toml constraints.txt setup.py tests/families.txt  # torchvision without its dependencies
	test -x $@/bin/python || python3 -m venv $@
	$@/bin/python -m pip install --quiet --constraint constraints.txt torch
	$@/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[hf,test]'
	$@/bin/python -m pip install --quiet --no-deps --requirement tests/families.txt
	touch $@

app: .venv-app  ## the web page, at http://127.0.0.1:7860
	.venv-app/bin/pmtools app

.venv-app: pyproject.toml constraints.txt setup.py  # of its own: gradio asks for an older Pillow
	test -x $@/bin/python || python3 -m venv $@
	$@/bin/python -m pip install --quiet --constraint constraints.txt torch
	$@/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test-browser]'
	touch $@

test-browser: .venv-app  ## the web page in a headless Chromium; says why where there is none
	command -v chromium >/dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends chromium; } || echo "no chromium, and apt-get cannot install it: its tests will be skipped"
	.venv-app/bin/python -m pytest -n 2 tests/test_app.py tests/test_app_browser.py

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(STAMP)
	$(VENV)/bin/mypy

docs: $(STAMP)  ## the site, into site/
	$(VENV)/bin/mkdocs build --strict

bench: $(STAMP)
	$(INSTALL) '.[bench]'
	$(PY) tests/benchmarks/bench_resample.py --json out/bench/resample.json

fuzz: $(STAMP)  ## the compiled kernel under AddressSanitizer and UBSan, a minute of random cases
	$(PY) tests/fuzz/fuzz_kernel.py $(FUZZ_SECONDS)

clean:
	rm -rf $(VENV) .venv-app .venv-families .venv-lowest .venv-harness site out build *.egg-info .pytest_cache .mypy_cache .ruff_cache
