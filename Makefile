# RecMind from a fresh clone: `make demo` to see it work, `make test` to check it.
# Everything is installed into .venv; nothing outside the clone is touched.

VENV   := .venv
STAMP  := $(VENV)/.installed
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt
TORCH  := $(shell sed -n '/^torch==/p' constraints.txt)

# The first Python here that is new enough; choose another with `make setup PYTHON=/path/to/python`.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)

# Two worker processes share the cores; more threads than cores inside them only slow each other down.
WORKERS ?= 2
THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test browser lint bench docs clean

help: ## Show this list
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything pinned in constraints.txt (again when pins, pyproject.toml or the kernels change)

$(STAMP): pyproject.toml constraints.txt CMakeLists.txt $(wildcard src/recmind/kernels/cpu/*)
	@test -n "$(PYTHON)" || { \
		echo "RecMind needs Python 3.11 or newer; python3 here is: $$(python3 --version 2>&1 || true)" >&2; \
		echo "Install one, or say which: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "RecMind needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1 || true)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version): some minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@# torch first and pinned: resolved together with the rest, pip may choose a far larger build.
	@# Not compiled ahead: of the 19,000 modules most are never imported.
	@$(PIP) $(TORCH)
	@$(PIP) --editable '.[encoder,adapters,studies,serving,test,dev]'
	@$(PY) -c 'from recmind import kernels; print("Compiled kernels:", kernels.instruction_set() or kernels.missing + "; everything works, training is slower")'
	@touch $@

demo: setup ## Generate a shop, train four models on it, print a comparison and recommendations (minutes)
	@$(PY) -m recmind demo

test: setup ## Run the whole test suite
	@# Each worker takes files that are neighbours: what the tests of a file share is made once, not in every worker.
	OMP_NUM_THREADS=$(THREADS) $(PY) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

browser: ## Install Chromium for the tests of the page (Debian and Ubuntu, as root); without it they are skipped
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
		command -v apt-get >/dev/null || { echo "no apt-get here: install chromium and chromedriver yourself" >&2; exit 1; }; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null; }

lint: setup ## Check style (ruff) and types (pyright)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright

bench: setup ## Measure speed and memory on generated data, without peers (docs/performance.md has the rest)
	@set -e; for run in "sources.py" "training.py" "ranking.py --users 8000" "growth.py" "graph_building.py --millions 1 3"; do \
		echo "== benchmarks/$$run"; $(PY) benchmarks/$$run; done

docs: setup ## Write docs/settings.md and docs/commands.md from the code
	$(PY) -m recmind.docs --write

clean: ## Remove .venv, caches and what demo and builds left; runs/ and datasets stay
	rm -rf $(VENV) build dist demo .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
