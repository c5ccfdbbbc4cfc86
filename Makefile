# `make demo` and `make test` do everything a fresh machine needs: .venv, install, run.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: demo test test-all lint types docs bench fuzz clean

$(STAMP): pyproject.toml constraints.txt setup.py pmtools/_resample.c
	test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt torch
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)  ## magnify a photograph and look at it: out/demo/
	$(PY) examples/magnify_photograph.py out/demo

test: $(STAMP)  ## every test but the slow sweeps
	$(PY) -m pytest -n 2 -m "not slow"

test-all: $(STAMP)  ## the slow sweeps too
	$(PY) -m pytest -n 2

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(STAMP)
	$(VENV)/bin/mypy

docs: $(STAMP)  ## the site, into site/
	$(VENV)/bin/mkdocs build --strict

bench: $(STAMP)
	$(PY) -m pip install --quiet --constraint constraints.txt '.[bench]'
	$(PY) tests/benchmarks/bench_resample.py

fuzz: $(STAMP)  ## the compiled kernel under AddressSanitizer and UBSan, a minute of random cases
	$(PY) tests/fuzz/fuzz_kernel.py 60

clean:
	rm -rf $(VENV) site out build *.egg-info .pytest_cache .mypy_cache .ruff_cache
