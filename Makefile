# Two commands need no preparation: make run, make test. Everything else is listed by make help.

PYTHON ?= python3
TRIALS ?=
ROUNDS ?= 100
SEED ?= 1
JOBS ?= 2
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
PIP_ENV := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=constraints.txt

.PHONY: help setup run docs bench soak check test fast lint format clean env compose-test

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 15

setup: $(STAMP) ## virtual environment with the pinned packages

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed, as by TensorFlow; make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_ENV) $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

run: $(STAMP) ## the sweep: its 50 trials and the lab's nets (TRIALS=3, ARGS="--sweep tiny")
	$(BIN)/python -m fmnist_sweep run $(if $(TRIALS),--trials $(TRIALS)) $(ARGS)

lint: $(STAMP) ## format, lint and types, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(STAMP) ## the pages that are taken from the code
	$(BIN)/python -m docs.build

bench: $(STAMP) ## benchmarks (ARGS="throughput --quick"; ARGS=--help lists them)
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(STAMP) ## kills workers, driver and MLflow's server of real sweeps at random, then checks all (ROUNDS=20, SEED=1)
	$(BIN)/python -m tests.soak --rounds $(ROUNDS) --seed $(SEED) --out fmnist_runs/soak.json

fast: $(STAMP) ## the fast tests
	$(BIN)/python -m pytest

check: lint ## what CI runs: format, lint, types, all tests (JOBS=2 processes)
	$(BIN)/python -m fmnist_sweep data
	$(BIN)/python -m pytest -m '' -n $(JOBS) --dist loadgroup --no-loadscope-reorder

test: check ## the same, from a bare clone

format: $(STAMP) ## mend format and imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

env: ## .env for docker-compose.yml, with new passwords
	@$(PYTHON) docker/make_env.py

compose-test: $(STAMP) ## the stack of docker-compose.yml brought up for real (ARGS="--scratch DIR" keeps the images)
	$(BIN)/python -m tests.compose $(ARGS)

clean: ## remove the environment and caches (never the results)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
