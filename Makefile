# make demo   sets everything up and runs the main job
# make test   sets everything up and passes the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench release-digits clean

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(READY): pyproject.toml constraints.txt
	@echo "setting up $(VENV) with the versions in constraints.txt (about two minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
		|| { echo "onepath needs CPython 3.10, 3.11 or 3.12; run: make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(READY)

setup: $(READY)  ## the environment in .venv

demo: $(READY)  ## train, merge, collapse, export, serve and measure the digits
	@$(BIN)/python export/digits/demo.py

test: $(READY)  ## the tests
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: $(READY)  ## format, lint, types, architecture, then the tests
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory test

format: $(READY)  ## format and mend what ruff can
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: demo  ## the figures in docs/, measured anew, the demo's among them
	@for name in dispatch collapse lego overlap baselines precision write_page; do $(BIN)/python benchmarks/$$name.py || exit 1; done

release-digits: $(READY)  ## build the digits pipeline and refresh model_repository/ with it
	@$(BIN)/python export/digits/release.py

clean:  ## remove what was built; keeps .venv
	@rm -rf build scored dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
