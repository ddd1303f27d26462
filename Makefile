# `make run` starts the gateway, `make test` runs the tests. Both build their virtual environment first.
# `make help` lists the rest. Needed: Python 3.11 or later, make and a C compiler.

VENV := .venv
BIN := $(VENV)/bin

# The interpreter for the virtual environment: `make PYTHON=/path/to/python3.12` chooses another.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; break; }; done)

SOURCES := $(wildcard src tests scripts bench)

.DEFAULT_GOAL := help
.PHONY: help run test check format docs clean

help: ## List the targets.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: $(VENV)/.installed ## Start the gateway on 127.0.0.1:8080; ARGS="--port 9000" passes options.
	@exec $(BIN)/fairlead serve $(ARGS)

test: $(VENV)/.tested ## Run the tests; ARGS="tests/unit -x" passes options.
	$(BIN)/pytest $(ARGS)

check: $(VENV)/.checked ## Check format, lint, types and layers.
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.checked ## Format the code and mend what the linter can mend.
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

docs: $(VENV)/.installed ## Write the generated pages of docs/ anew.
	for script in scripts/*_page.py; do $(BIN)/python "$$script" || exit 1; done

clean: ## Remove the virtual environment, caches and builds.
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: made again only when pyproject.toml changes, so that a second `make run` starts at once.
$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "make: Fairlead needs Python 3.11 or later; set PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $(PYTHON) is not Python 3.11 or later; set PYTHON=/path/to/python" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.checked: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

$(VENV)/.tested: pyproject.toml $(wildcard tests/e2e/vault/package.json) $(VENV)/.checked
	$(BIN)/python -m pip install --quiet --group e2e
	@test -x $(VENV)/litellm/bin/python || $(BIN)/python -m venv $(VENV)/litellm
	$(VENV)/litellm/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(VENV)/litellm/bin/python -m pip install --quiet --group litellm
	@test -x $(VENV)/signing/bin/python || $(BIN)/python -m venv $(VENV)/signing
	$(VENV)/signing/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(VENV)/signing/bin/python -m pip install --quiet --group signing
	cp tests/e2e/vault/package.json $(VENV)/signing/package.json
	PATH="$(abspath $(VENV))/signing/bin:$$PATH" npm install --silent --no-audit --no-fund --no-package-lock --prefix $(VENV)/signing \
		|| echo "make: npm could not install its verifier of signatures: the tests that need it are left out" >&2
	@touch $@
