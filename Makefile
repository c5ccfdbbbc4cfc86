# `make demo` and `make test` do everything a fresh machine needs: .venv, install what constraints.txt locks, run.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

FUZZ_SECONDS ?= 60
FUZZ_CASES ?= 10000
# the environment variable holds for what builds the package too, the option does not
INSTALL := PIP_CONSTRAINT=constraints.txt $(PY) -m pip install --quiet
# the release with a CPU wheel on the machines that build this project; anything newer pulls several GB of CUDA packages
TORCH := torch==2.13.0

.PHONY: demo app test test-browser test-families test-transforms test-servers test-slow test-core test-lowest test-latest test-harness test-arm \
	test-kills lint types docs bench fuzz fuzz-readers package lock versions clean

$(STAMP): pyproject.toml constraints.txt setup.py pmtools/_resample.c
	test -x $(PY) || python3 -m venv $(VENV)
	$(INSTALL) --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)  ## the embedded model and a pretrained reader, plain and magnified; pictures in out/demo/
	$(INSTALL) --editable '.[dev,reading]'
	$(PY) -m pmtools demo --out out/demo

test: $(STAMP)  ## every test but the slow sweeps
	$(PY) -m pytest -n 2 -m "not slow"

test-slow: $(STAMP)  ## the slow ones: the built site, examples with datasets and Ray, wrapped models
	$(INSTALL) --editable '.[pipelines,wrapped,serve,api,proxy,mcp,reading]'
	$(PY) -m pytest -n 2 -m slow --ignore tests/test_families.py

test-core: .venv-core  ## the tests that need no torch, where there is none; with the compiled kernel and without it
	.venv-core/bin/python -m pytest -n 2 -m "not slow"
	PMTOOLS_KERNEL=numpy .venv-core/bin/python -m pytest -n 2 -m "not slow"

.venv-core: pyproject.toml constraints.txt setup.py
	test -x $@/bin/python || python3 -m venv $@
	PIP_CONSTRAINT=constraints.txt $@/bin/python -m pip install --quiet --editable '.[cli,test]'
	touch $@

test-lowest: .venv-lowest  ## every test outside a browser on the lowest version of everything that pyproject.toml promises
	.venv-lowest/bin/python -m pytest -n 2 -m "not slow" --ignore tests/test_app_browser.py

.venv-lowest: pyproject.toml setup.py tests/versions.py | $(STAMP)
	test -x $@/bin/python || python3 -m venv $@
	$(PY) tests/versions.py lowest $(TORCH) > $@/pins.txt
	PIP_CONSTRAINT=$@/pins.txt $@/bin/python -m pip install --quiet --editable '.[dev,pipelines,wrapped,serve,api,proxy,mcp,bench,test-browser]'
	touch $@

LATEST := tests/test_attention.py tests/test_caches.py tests/test_calls.py tests/test_layouts.py tests/test_image_tokens.py \
	tests/test_pm*.py tests/test_methods.py tests/test_processor.py tests/test_second_turn.py tests/test_ask.py tests/test_examples.py

test-latest:  ## adapters, decoding, `ask` and the examples on the newest of everything but torch
	test -x .venv-latest/bin/python || python3 -m venv .venv-latest
	.venv-latest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager $(TORCH) --editable '.[hf,cli,test,pipelines]'
	.venv-latest/bin/python -m pytest -n 2 -m "not slow" $(LATEST)
	.venv-latest/bin/python -m pytest -n 2 -m slow tests/test_examples.py

test-harness: $(STAMP)  ## the adapter inside the real lmms-eval, without its dependencies: it asks for torchvision
	test -x .venv-harness/bin/python || python3 -m venv .venv-harness
	PIP_CONSTRAINT=constraints.txt .venv-harness/bin/python -m pip install --quiet --editable '.[hf,test]' --requirement tests/harness.txt
	.venv-harness/bin/python -m pip install --quiet --no-deps lmms-eval==0.7.3 'filelock<4.3'  # it imports filelock._api
	.venv-harness/bin/python -m pytest -n 2 tests/test_lmms_eval.py tests/test_lmms_eval_tasks.py

test-families: .venv-families  ## every family of models that transformers has a processor for, with both image back ends
	PYTHONPATH=tests .venv-families/bin/python -m pytest -n 2 -p torchvision_stub tests/test_families.py tests/test_pixel_budget.py

.venv-families: pyproject.toml constraints.txt setup.py tests/families.txt  # torchvision without its dependencies
	test -x $@/bin/python || python3 -m venv $@
	PIP_CONSTRAINT=constraints.txt $@/bin/python -m pip install --quiet --editable '.[hf,test]'
	$@/bin/python -m pip install --quiet --no-deps --requirement tests/families.txt
	touch $@

test-transforms: .venv-transforms  ## annotations and transforms beside the real torchvision, albumentations, kornia, supervision
	PYTHONPATH=tests .venv-transforms/bin/python -m pytest -n 2 -p torchvision_stub tests/test_annotation.py tests/test_transforms.py \
		tests/test_turns.py tests/test_undoing.py

.venv-transforms: pyproject.toml constraints.txt setup.py tests/families.txt  # torchvision without its dependencies
	test -x $@/bin/python || python3 -m venv $@
	PIP_CONSTRAINT=constraints.txt $@/bin/python -m pip install --quiet --editable '.[hf,test,transforms]'
	$@/bin/python -m pip install --quiet --no-deps --requirement tests/families.txt
	touch $@

test-servers: .venv-servers  ## the plug-ins in the Python code of vLLM and SGLang (some 400 MB; not in CI)
	PYTHONPATH=tests .venv-servers/bin/python -m pytest -p torchvision_stub tests/test_plugins.py

.venv-servers: pyproject.toml constraints.txt setup.py tests/servers.txt
	test -x $@/bin/python || python3 -m venv $@
	PIP_CONSTRAINT=constraints.txt $@/bin/python -m pip install --quiet --editable '.[hf,test]'
	$@/bin/python -m pip install --quiet --no-deps --requirement tests/servers.txt
	touch $@

test-kills: $(STAMP)  ## magnify and eval killed a hundred times, three at once, on a full disk (half an hour; not in CI)
	PMTOOLS_KILLS=100 $(PY) -m pytest -m slow tests/test_kills.py

app: .venv-app  ## the web page, at http://127.0.0.1:7860
	.venv-app/bin/pmtools app

.venv-app: pyproject.toml constraints-app.txt setup.py  # of its own, as its lock is: gradio asks for an older Pillow
	test -x $@/bin/python || python3 -m venv $@
	PIP_CONSTRAINT=constraints-app.txt $@/bin/python -m pip install --quiet --editable '.[test-browser]'
	touch $@

test-browser: .venv-app  ## the web page in a headless Chromium; says why where there is none
	command -v chromium >/dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends chromium; } || echo "no chromium, and apt-get cannot install it: its tests will be skipped"
	.venv-app/bin/python -m pytest -n 2 tests/test_app.py tests/test_app_browser.py

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	grep -rniE -f tests/banned_phrases.txt --include '*.md' --include '*.py' README.md docs pmtools examples training tests; test $$? -eq 1

types: $(STAMP)
	$(VENV)/bin/mypy

docs: $(STAMP)  ## the site, into site/
	$(VENV)/bin/mkdocs build --strict

bench: $(STAMP)
	$(INSTALL) --editable '.[bench]'
	$(PY) tests/benchmarks/bench_resample.py --json out/bench/resample.json

fuzz: $(STAMP)  ## the compiled kernel under AddressSanitizer, UBSan and ThreadSanitizer, a minute of random cases
	$(PY) tests/fuzz/fuzz_kernel.py $(FUZZ_SECONDS)

fuzz-readers: $(STAMP)  ## damaged images, arrays, warps and JSON through the readers; FUZZ_CASES=1000000 takes half an hour
	$(PY) tests/fuzz/fuzz_readers.py $(FUZZ_CASES)

test-arm: $(STAMP)  ## the compiled kernel on ARM, under emulation; says why where it cannot (minutes; not in CI)
	command -v qemu-aarch64 >/dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross; } || true
	PIP_CONSTRAINT=constraints.txt $(PY) tests/arm.py

package: $(STAMP)  ## sdist and wheel, checked: metadata, platform, stable ABI, stripped, without a compiler, the sdist's own tests; into dist/
	test -x .venv-package/bin/python || python3 -m venv .venv-package
	PIP_CONSTRAINT=constraints.txt .venv-package/bin/python -m pip install --quiet 'build>=1.2' 'twine>=6.1' 'auditwheel>=6.2' 'abi3audit>=0.0.20'
	.venv-package/bin/python tests/package.py

RESOLVE := out/lock/bin/python -m pip install --quiet --dry-run --ignore-installed $(TORCH)

lock: $(STAMP)  ## the newest of everything that go together under one torch, into constraints.txt and constraints-app.txt
	rm -rf out/lock && python3 -m venv out/lock
	$(RESOLVE) --report out/lock/all.json '.[dev,pipelines,wrapped,serve,api,proxy,mcp,bench,transforms,reading,tiff]' --requirement tests/harness.txt
	$(RESOLVE) --report out/lock/app.json '.[test-browser]'
	$(PY) tests/versions.py lock out/lock/all.json constraints.txt 'everything but the web page'
	$(PY) tests/versions.py lock out/lock/app.json constraints-app.txt 'the web page and its tests'

versions: test-lowest test test-latest  ## the page of tested versions, once the tests have passed on all three
	$(PY) tests/versions.py page

clean:
	rm -rf $(VENV) .venv-app .venv-core .venv-families .venv-transforms .venv-lowest .venv-latest .venv-harness .venv-servers .venv-package site out build dist *.egg-info \
		.pytest_cache .mypy_cache .ruff_cache
