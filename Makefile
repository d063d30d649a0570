# Needs Python 3.11 or newer, make and a package index; sets up everything else itself.
#   make demo test test-ray check bench docs clean        PYTHON=... chooses the interpreter
#   make test PYTEST_ARGS="-k fan_in -x"         passes arguments to pytest
#   make demo DEMO_ARGS="path/to/folder"         passes arguments to the demo
#   make bench BENCH_ARGS="--quick map chain"    passes arguments to the benchmarks

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.NOTPARALLEL:

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --editable
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
# Other runtimes bring their own versions of what hush needs.
PEERS := $(VENV)-peers
# Ray is large, and few need it.
RAY := $(VENV)-ray
export PIP_ROOT_USER_ACTION = ignore

.PHONY: help demo test test-ray check bench bench-peers docs clean

help:  ## show this help
	@echo "Hush: an async workflow runtime whose every step is a live OpenTelemetry span"
	@echo
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

demo: $(VENV)/.stamp-demo  ## run a real workflow, show its results and its trace
	@$(BIN)/python examples/13_parallel_advanced.py $(DEMO_ARGS)

test: $(VENV)/.stamp-dev  ## run all tests (PYTEST_ARGS="..." for some)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test-ray: $(RAY)/.stamp  ## run the tests of items on Ray (installs it; PYTEST_ARGS="..." for some)
	@$(RAY)/bin/python -m pytest -m ray tests/executors tests/executors_contract $(PYTEST_ARGS)

check: $(VENV)/.stamp-dev  ## lint, formatting, types and layers
	@echo "ruff check";           $(BIN)/ruff check
	@echo "ruff format --check";  $(BIN)/ruff format --check
	@echo "mypy --strict";        $(BIN)/mypy
	@echo "pyright tests/typing"; $(BIN)/pyright --pythonpath $(BIN)/python
	@echo "lint-imports";         $(BIN)/lint-imports

bench: $(VENV)/.stamp-dev  ## measure everything, write docs/benchmarks.md
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-peers: $(PEERS)/.stamp  ## install the runtimes that the benchmarks compare with

docs: $(VENV)/.stamp-docs  ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean

clean:  ## remove the virtual environment and everything built
	rm -rf $(VENV) $(PEERS) $(RAY) build dist site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# One environment, one stamp for each set of packages; a changed pyproject.toml renews them.
$(VENV)/.stamp-demo: $(VENV)/.stamp-python pyproject.toml
	@echo "setup: installing hush with the packages of the demo (once; about a minute)"
	@$(PIP) ".[cli,trio]"
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-python pyproject.toml
	@echo "setup: installing hush with the packages for tests and checks (once; a minute or two)"
	@$(PIP) ".[dev]"
	@touch $@

$(PEERS)/.stamp: $(VENV)/.stamp-python benchmarks/requirements-peers.txt
	@echo "setup: installing other runtimes into $(PEERS) (once; a minute or two)"
	@$(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet -r benchmarks/requirements-peers.txt
	@touch $@

$(RAY)/.stamp: $(VENV)/.stamp-python pyproject.toml
	@echo "setup: installing hush and ray with the packages for tests into $(RAY) (once; two minutes)"
	@test -x $(RAY)/bin/python || $(BIN)/python -m venv $(RAY)
	@$(RAY)/bin/python -m pip --disable-pip-version-check install --quiet --editable ".[dev,ray]"
	@touch $@

$(VENV)/.stamp-docs: $(VENV)/.stamp-python pyproject.toml
	@echo "setup: installing hush with the packages for the documentation (once)"
	@$(PIP) ".[docs]"
	@touch $@

# Each candidate is asked to run: a shim may exist and fail, a python3 may be too old or lack venv.
$(VENV)/.stamp-python:
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3.14 python3 python; do \
	    if command -v "$$python" >/dev/null 2>&1 && \
	        "$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
	            >/dev/null 2>&1; \
	    then \
	        echo "setup: creating $(VENV) with $$("$$python" --version) ($$python)"; \
	        rm -rf "$(VENV)" && "$$python" -m venv "$(VENV)" && touch "$@" && exit 0; \
	        exit 1; \
	    fi; \
	done; \
	echo "Hush needs Python 3.11 or newer with the module venv, and none was found." >&2; \
	echo "Install it (Debian and Ubuntu: apt install python3 python3-venv; macOS: brew install" >&2; \
	echo "python), or name one: make test PYTHON=/path/to/python3.12" >&2; \
	exit 1
