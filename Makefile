# Every target uses .venv at the root, and creates it when it is missing. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MADE := $(VENV)/pyvenv.cfg
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
DEMO_STAMP := $(VENV)/.installed-demo

.DEFAULT_GOAL := help
.PHONY: help install demo browser pictures test test-fast test-lowest check format docs wheel sbom bench soak clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(MADE):
	$(PYTHON) -c 'import sys; sys.exit("mova needs Python 3.11 or newer; run make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(MADE)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

install: $(STAMP)  ## create .venv with mova and everything its tests need

$(DEMO_STAMP): pyproject.toml constraints.txt | $(MADE)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $(DEMO_STAMP)

demo: $(DEMO_STAMP)  ## search rendered videos and a film of photographs, with pictures in demo/ (VIDEOS=DIR: your own folder)
	$(BIN)/mova demo --out demo $(if $(VIDEOS),--videos "$(VIDEOS)")

browser: $(STAMP)  ## install Playwright and axe, for the tests of the page; they use Debian's Chromium
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	@command -v chromium >/dev/null || { echo "Chromium is missing: apt-get install chromium (the tests of the page are skipped without it)"; exit 1; }

pictures: browser  ## draw the pictures of the pages of mova serve in docs/images
	$(BIN)/python docs/make_pictures.py

test: $(STAMP)  ## run all tests and docstring examples
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: $(STAMP)  ## run the tests that take seconds
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow'

LOWEST := build/lowest
LOWEST_TESTS := tests/utils tests/exports tests/plots/test_notebook.py tests/scoring tests/search/test_query.py tests/search/cold \
	tests/search/like tests/models/two_tower tests/models/inputs tests/models/test_encoder.py tests/cli tests/video/test_reader.py \
	tests/data/exchange tests/data/test_manifest.py tests/eval/metrics

test-lowest: $(STAMP)  ## run quick tests with the lowest versions that pyproject.toml allows (PyTorch: the pinned one), in build/lowest
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --index-strategy unsafe-best-match \
		--constraint constraints.txt --editable '.[models]' 'pytest>=9' 'pytest-xdist>=3.8' 'hypothesis>=6.140' 'psutil>=7'
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 -m 'not slow' $(LOWEST_TESTS)

check: $(STAMP)  ## static checks: ruff, formatting, mypy, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell src tests benchmarks docs examples README.md CONTRIBUTING.md CHANGELOG.md

format: $(STAMP)  ## fix and format the source
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $(DOCS_STAMP)

docs: $(DOCS_STAMP)  ## build the documentation site in build/docs; a broken link or reference fails
	$(BIN)/python -m sphinx --builder html --nitpicky --fail-on-warning --keep-going --quiet docs build/docs

wheel: $(STAMP)  ## build and check the wheel in dist/ (MOVA_REPOSITORY=https://...: the address in its links)
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*

sbom: $(STAMP)  ## list all installed packages with versions and licenses in build/sbom.json (CycloneDX)
	@mkdir -p build
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'cyclonedx-bom>=7'
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json $(BIN)/python

bench: $(STAMP)  ## run all benchmarks in their quick form (drop --quick for the recorded figures)
	@set -e; for name in $$($(BIN)/mova bench); do $(BIN)/mova bench $$name --quick; done

SOAK := kills interrupted disturbances drives lost_nodes damaged_videos damaged_tables serve_kills serve_soak

soak: $(STAMP)  ## kill, disturb and damage what is running or stored, and count what is lost (QUICK=1: a few minutes)
	@set -e; for name in $(SOAK); do $(BIN)/mova bench $$name $(if $(QUICK),--quick); done
	MOVA_FUZZ_EXAMPLES=$(if $(QUICK),25,250) $(BIN)/python -m pytest --quiet --capture=no tests/serve/test_fuzz.py

clean:  ## remove everything that make created
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache
