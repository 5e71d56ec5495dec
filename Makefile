.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check

.PHONY: help install run test lint format types imports unit faults money bench clean

help: ## Show this help
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## Install what Pointsman needs into .venv

run: .venv/installed ## Start everything; PORT=9000 chooses the port, Ctrl-C stops it
	@$(BIN)/pointsman up

test: .venv/installed-test ## Everything that must hold: style, types, imports, all tests
	@$(MAKE) --no-print-directory lint types imports
	@$(BIN)/python -m pytest

lint: .venv/installed-test ## Style and formatting, nothing is changed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: .venv/installed-test ## Format, and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types: .venv/installed-test ## Static types
	@$(BIN)/mypy

imports: .venv/installed-test ## Architecture: who may import whom
	@$(BIN)/lint-imports

unit: .venv/installed-test ## The quick tests only, no network
	@$(BIN)/python -m pytest tests/unit

faults: .venv/installed-test ## Kill, cut and restart every part, and count what was lost
	@$(BIN)/python -m tests.faults

money: .venv/installed-test ## Thousands at once, repeats and any order, on both databases
	@$(BIN)/python -m tests.money

bench: .venv/installed-test ## Cost and latency of a request
	@$(BIN)/python -m tests.bench

clean: ## Remove .venv and what the tools left; the data in .pointsman stays
	rm -rf .venv .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Pointsman needs Python 3.11 or newer; choose one with PYTHON=/path/to/python3."; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "This Python cannot make environments; Debian and Ubuntu need the package python3-venv."; exit 1; }

.venv/installed: pyproject.toml deploy/constraints.txt | .venv/bin/python
	@echo "Installing into .venv ..."
	@$(PIP) install -c deploy/constraints.txt -e .
	@touch $@

.venv/installed-test: .venv/installed
	@echo "Installing the test tools into .venv ..."
	@$(PIP) install -c deploy/constraints.txt -e '.[test,lint]'
	@touch $@
