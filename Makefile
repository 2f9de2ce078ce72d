# The two commands a user needs: `make run` and `make test`. Both work on a fresh machine with only Python 3.11-3.13 and make.
# The first interpreter that works, has venv, and is one TensorFlow has a wheel for.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
  && echo $$python && break; done)
BIN := .venv/bin

.PHONY: setup run test check bench screenshots

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "tfserve-tui needs Python 3.11-3.13 with venv (TensorFlow has no wheel for others); try: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[local,web,cluster,dev]'
	@touch $@

run: setup
	@ls -d release/text_cnn/[0-9]* >/dev/null 2>&1 || $(BIN)/textcnn-export --out release
	@$(BIN)/tfserve-tui

# Two tests at a time: most of them wait. Those that use the same server stay together (tests/conftest.py).
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The A/A check takes half an hour, so it comes last.
bench: setup
	@for file in $(filter-out benchmarks/aa.py,$(wildcard benchmarks/*.py)) benchmarks/aa.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

screenshots: setup
	$(BIN)/python docs/screenshots.py
