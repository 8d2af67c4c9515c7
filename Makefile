# Two commands need no preparation: make run, make test. Everything else is listed by make help.

PYTHON ?= python3
TRIALS ?= 50
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
PIP_ENV := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=constraints.txt

.PHONY: help setup run bench check test fast lint format clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(STAMP) ## virtual environment with the pinned packages

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_ENV) $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

run: $(STAMP) ## the sweep: 50 trials and the lab's nets (TRIALS=3, ARGS="--sweep tiny")
	$(BIN)/python -m fmnist_sweep run --trials $(TRIALS) $(ARGS)

lint: $(STAMP) ## format, lint and types, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP) ## benchmarks (ARGS="throughput --quick"; ARGS=--help lists them)
	$(BIN)/python -m benchmarks $(ARGS)

fast: $(STAMP) ## the fast tests
	$(BIN)/python -m pytest

check: lint ## what CI runs: format, lint, types, all tests
	$(BIN)/python -m fmnist_sweep data
	$(BIN)/python -m pytest -m ''

test: check ## the same, from a bare clone

format: $(STAMP) ## mend format and imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and caches (never the results)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
