# Everything installs into VENV first, so each target works on a fresh machine with Python 3.11 and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-all notebooks lint types bench clean

help:
	@echo "make demo      install, then train and evaluate on real recordings (under 3 minutes after installation)"
	@echo "make test      install, then run the test suite"
	@echo "make test-all  the slow tests too"
	@echo "make notebooks run the six notebooks (needs MODALIGN_DATA; under 3 minutes each)"
	@echo "make lint      ruff, formatting, and the arrows between packages"
	@echo "make types     mypy --strict"
	@echo "make bench     benchmarks beside their peers, about an hour (needs MODALIGN_DATA)"

demo: $(VENV)/.demo
	$(BIN)/modalign demo --out modalign-demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest

notebooks: $(VENV)/.dev
	$(BIN)/python -m pytest tests/test_notebooks.py --durations=6

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.all

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -e '.[dev]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache modalign-demo
