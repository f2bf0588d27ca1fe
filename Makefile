# make help lists the commands. Everything is done in .venv, which make sets up by itself.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
TERMINAL := $(shell tty 2>/dev/null || echo off)
export SUPERPOS_PROGRESS := $(if $(findstring /,$(TERMINAL)),$(TERMINAL),off)

.NOTPARALLEL:
.PHONY: help env book site chapters chapter full verdicts serve test benchmark format lock clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1|/' | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

env: $(READY)  ## the environment in .venv, from requirements.txt

$(READY): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "superpos needs Python 3.11 or newer; no $(PYTHON) was found. Name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(0 if sys.version_info >= (3, 11) else f"superpos needs Python 3.11 or newer; $(PYTHON) is {v}. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Setting up .venv (once; about a minute and 6 GB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep -E '^uv==' requirements.txt)" 2>&1 | { grep -v '^WARNING: Location' || true; }
	@$(BIN)/uv pip install -q --python $(BIN)/python -r requirements.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

book: $(READY) chapters site  ## run every chapter at quick scale and build the site
	@echo "Open file://$(CURDIR)/_build/html/index.html, or: make serve"

chapters: $(READY)
	@$(BIN)/python -m book.run all

site: $(READY)  ## build the site from the notebooks as they are
	@$(BIN)/python -m book.site

chapter: $(READY)  ## one chapter with parameters: make chapter NAME=02_toy_models ARGS="-p n_models 20"
	@$(BIN)/python -m book.run chapter "$(NAME)" $(ARGS)

full: $(READY)  ## one chapter at full scale: make full NAME=02_toy_models (rows go to book/results, resumes)
	@$(BIN)/python -m book.run full "$(NAME)" $(ARGS)

verdicts: $(READY)  ## compute every claim from the committed rows, and write book/results/verdicts.csv
	@$(BIN)/python -m book.run verdicts

benchmark: $(READY)  ## speed beside the peers: make benchmark ARGS="--peer CHECKOUT --out FOLDER"; ARGS="--size small" for seconds
	@$(BIN)/python -m benchmarks compare $(ARGS)

serve: $(READY)  ## serve the built site on http://localhost:8000
	@test -f _build/html/index.html || { echo "there is no site yet: make book"; exit 1; }
	@$(BIN)/python -m http.server --bind localhost --directory _build/html 8000

test: $(READY)  ## all tests: the house, types, notebooks (nbval), the site in a browser
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyrefly check --summary=none
	@SUPERPOS_PROGRESS=off $(BIN)/python -m pytest -q

format: $(READY)  ## format the code and bring notebook pairs in step
	@$(BIN)/ruff check --fix -q . || true
	@$(BIN)/ruff format .
	@$(BIN)/python -m book.run pair

lock: $(READY)  ## pin requirements.txt anew from requirements.in
	@$(BIN)/uv pip compile -q requirements.in -o requirements.txt --universal --python-version 3.11 --no-annotate --no-header

clean:  ## remove what was built (not .venv, not results)
	rm -rf _build .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
