# Each target does its own set-up from a fresh checkout. Settings, all optional:
#   PYTHON=python3.12        the interpreter that makes the virtual environment (3.11 or newer)
#   VENV=.venv               where that environment lives
#   TORCH_INDEX=URL          an extra package index to take torch's build from; CPU only, for instance:
#                            https://download.pytorch.org/whl/cpu
#   QUICKSTART_ARGS="…"      passed to scripts/quickstart.py
#   PYTEST_ARGS="…"          passed to pytest
VENV ?= .venv
TORCH_INDEX ?=
QUICKSTART_ARGS ?=
PYTEST_ARGS ?= -n auto
SITE ?= site

# A user's own pip or Python settings are not the environment's: --user cannot install into it, and
# packages of a foreign PYTHONPATH would count as installed.
export PIP_USER := 0
unexport PYTHONPATH

# make cuts names at spaces; the checkout itself may lie in a folder with any name.
ifneq ($(words $(VENV)),1)
$(error VENV='$(VENV)' has a space in it, which make cannot follow: choose another place)
endif

# Runs silently and fails unless it is given to a Python >= 3.11 that can make an environment.
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	if "$$p" -c '$(USABLE)' >/dev/null 2>&1; then echo "$$p"; break; fi; done)
endif

PY := $(VENV)/bin/python
STAMP := $(VENV)/.simcse-kit-installed
PIP := $(PY) -m pip --disable-pip-version-check install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: help quickstart test lint format docs ci clean install
help:
	@echo "make quickstart   fine-tune a real encoder on real text and see what changed (minutes)"
	@echo "make test         install and run the tests"
	@echo "make docs         build the site into site/; open site/index.html"
	@echo "make lint | format | ci | clean"

# torch first: the build chosen for it (TORCH_INDEX, a local wheel) then satisfies everything after.
$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c '$(USABLE)' >/dev/null 2>&1 || { \
		found=$$("$(or $(PYTHON),python3)" --version 2>&1 || true); \
		echo "simcse-kit needs Python 3.11 or newer with its venv module (on Debian: python3-venv); found: $${found:-none}." >&2; \
		echo "Install one, or name it: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv "$(VENV)"
	$(PIP) -c constraints.txt torch
	$(PIP) -c constraints.txt -e ".[quickstart,dev]"
	@touch "$@"

install: $(STAMP)

quickstart: $(STAMP)
	$(PY) scripts/quickstart.py $(QUICKSTART_ARGS)

# One thread a test process: the tests are small, and as many processes run as there are cores.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) scripts/results_index.py --check
	$(PY) scripts/fill_pages.py --check
	$(PY) scripts/quoted_figures.py README.md docs

format: $(STAMP)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# Strictly: a broken link, or a name that does not exist, fails (not with --quiet, which hides both).
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --site-dir "$(SITE)"
	@echo "$(SITE)/index.html"

ci:
	bash .ci/run

clean:
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
