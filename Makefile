# Nothing but make and Python 3.11 or newer is needed; everything else goes into .venv, from the locked versions.
#
#   make demo          the whole product against a small WeCom of its own, in demo-data/; Ctrl-C ends it
#   make demo ONCE=1   2,000 events in an empty folder, compared row by row at the end
#   make test          every check and every test
#   make check         lint, format, types, import contracts
#   make vendor        the third-party files of the sidebar's page, fetched if they are not there
#   make lock          new lock files from pyproject.toml
#   make dictionary    the data dictionary anew, after a change of tables or views

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo vendor test check lock dictionary clean

VENV := .venv
BIN := $(VENV)/bin
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

ifndef PYTHON
PYTHON := $(shell for name in python3.13 python3.12 python3.11 python3; do \
	if "$$name" -c '$(NEW_ENOUGH)' 2>/dev/null; then echo "$$name"; break; fi; done)
endif

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

help:
	@sed -n 's/^#   //p' Makefile

# The stamps tell which lock file is installed, so that a second run starts at once.
$(VENV)/created:
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c '$(NEW_ENOUGH)'; then \
		echo "Python 3.11 or newer is needed; name yours with: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; fi
	@"$(PYTHON)" -m venv $(VENV) || { \
		echo "'$(PYTHON) -m venv' does not work; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/runtime: requirements.lock $(VENV)/created
	@echo "Installing what the product needs ..."
	@$(PIP_INSTALL) -r requirements.lock
	@touch $@

# The lock of the tools holds the runtime's pins too.
$(VENV)/tools: requirements-dev.lock $(VENV)/runtime
	@echo "Installing what the checks and tests need ..."
	@$(PIP_INSTALL) -r requirements-dev.lock
	@touch $@

# The script sees for itself whether anything has to be done.
vendor: $(VENV)/created
	@$(BIN)/python fetch_vendor.py

demo: $(VENV)/runtime vendor
ifdef ONCE
	@rm -rf demo-data
	@$(BIN)/python -m wecom_crm demo --once --folder demo-data
else
	@$(BIN)/python -m wecom_crm demo --folder demo-data
endif

check: $(VENV)/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: check vendor
	$(BIN)/pytest

LOCK := .build/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

lock: $(VENV)/created
	@$(PYTHON) -m venv .build/uv
	@.build/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) --output-file requirements.lock pyproject.toml
	$(LOCK) --output-file requirements-dev.lock --constraints requirements.lock --group dev pyproject.toml
	@$(PYTHON) -c 'import fetch_vendor; print(fetch_vendor.NODE)' | $(LOCK) --output-file requirements-node.lock -

dictionary: $(VENV)/runtime
	@$(BIN)/python -m wecom_crm.dictionary docs/reference/data-dictionary.md

clean:
	rm -rf $(VENV) .build build dist demo-data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache sidebar/static/vendor
