# The two commands a user needs: `make run` and `make test`. Both work on a fresh machine with only Python 3.11-3.13 and make.
PYTHON ?= $(shell command -v python3.13 || command -v python3.12 || command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: setup run test check bench screenshots

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "tfserve-tui needs Python 3.11-3.13 (TensorFlow has no wheel for other versions); set PYTHON=/path/to/python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[local,dev]'
	@touch $@

run: setup
	@test -n "$$(ls -A release/text_cnn 2>/dev/null)" || $(BIN)/textcnn-export --out release
	@$(BIN)/tfserve-tui

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

screenshots: setup
	$(BIN)/python docs/screenshots.py
