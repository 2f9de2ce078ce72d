"""The house's promises that no type checker sees: what an import loads, and which way imports go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("textual", "tensorflow", "docker", "numpy", "flask", "gunicorn")


def loaded_by(script: str, *arguments: str) -> set[str]:
    """Top-level modules in a clean interpreter after ``script``."""
    report = "import sys\n" + script + "\nprint('\\0' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", report, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("\0")[2].split())


def test_importing_the_command_line_loads_nothing_heavy():
    assert loaded_by("import serving_ctl.cli").isdisjoint(HEAVY)


def test_help_of_every_command_loads_nothing_heavy():
    script = """
from serving_ctl.cli import cli, main
assert main(["--help"]) == 0
for name in cli.commands:
    assert main([name, "--help"]) == 0
"""
    assert loaded_by(script).isdisjoint(HEAVY)


def test_help_of_the_console_script_loads_nothing_heavy():
    script = """
import tui.__main__
sys.argv = ["tfserve-tui", "--help"]
try:
    tui.__main__.main()
except SystemExit as end:
    assert not end.code, end.code
"""
    assert loaded_by(script).isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["serving_ctl.engine", "serving_ctl.bench.runner", "serving_ctl.results.export"])
def test_the_engine_works_headless(module):
    assert loaded_by(f"import {module}").isdisjoint({"textual", "tensorflow", "flask", "gunicorn"})


def test_a_dry_run_needs_neither_face_nor_tensorflow():
    script = 'from serving_ctl.cli import main; assert main(["run", "smoke", "--dry-run"]) == 0'
    assert loaded_by(script).isdisjoint({"textual", "tensorflow", "docker"})


def test_imports_go_one_way():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout
