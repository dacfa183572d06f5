# Every target makes .venv at the root when it is missing and uses it. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast check format bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("mova needs Python 3.11 or newer; say make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

install: $(STAMP)  ## make .venv with mova and everything that its tests need

demo: $(STAMP)  ## render Worlds, index, search and align them; tables, truth beside them, pictures in demo/
	$(BIN)/mova demo --out demo

test: $(STAMP)  ## all tests, the slow ones too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-fast: $(STAMP)  ## the tests that take seconds
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not slow'

check: $(STAMP)  ## ruff, mypy, and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory test-fast

format: $(STAMP)  ## put the source in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## all benchmarks in their quick form (drop --quick for the recorded figures)
	@set -e; for file in benchmarks/*.py; do case $$file in */harness.py) ;; *) $(BIN)/python $$file --quick;; esac; done

clean:  ## remove what was made here
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache
