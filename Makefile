# `make test` and `make demo` each do all the set-up they need: a virtual environment in .venv, filled once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install test lint demo clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   learn a new thing with the miniature model and write runs/demo/index.html"
	@echo "make test   lint, type check and run the tests"
	@echo "make lint   lint and type check only"
	@echo "make clean  remove the virtual environment and the caches"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "atomtune needs Python 3.11 or newer; say which one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "==> Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "==> Installing atomtune and what it needs (PyTorch is large: this takes a few minutes, once)"
	@$(BIN)/python -m pip install --quiet --quiet --editable '.[test]' --constraint constraints.txt
	@touch $@

test: lint
	@echo "==> pytest"
	@# a process for each core, of one thread each: torch's threads would wait for one another
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 8 --dist loadfile

lint: $(INSTALLED)
	@echo "==> ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "==> hadolint"
	@$(BIN)/hadolint docker/Dockerfile
	@echo "==> mypy"
	@$(BIN)/mypy

demo: $(INSTALLED)
	@echo "==> atomtune demo"
	@$(BIN)/atomtune demo --overwrite

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
