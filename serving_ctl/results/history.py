"""The kept runs as commands and panes ask for them: by a word of the user's, one short visit to the store each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from serving_ctl.errors import ConfigError
from serving_ctl.results.compare import RunComparison, compare_records, comparison_tables
from serving_ctl.results.record import RunRecord, RunSummary, read_record
from serving_ctl.results.store import LAST, Store, open_store, store_path
from serving_ctl.results.tables import Table

RECORDING_ENDING = ".jsonl"


class History:
    """Runs are named by id, unique beginning of an id, baseline's name, ``last`` or ``last~N`` (N runs before it).

    ``tell`` gets a sentence when the store was damaged and moved aside. Every method raises StoreError when the store
    cannot be read or written, and ConfigError when there is no such run, or more than one.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def runs(self) -> tuple[RunSummary, ...]:
        """All kept runs, newest first."""
        with self._open() as store:
            return store.summaries()

    def run(self, reference: str) -> RunRecord:
        """The whole of a run; ``reference`` may also be the path of a recording (``….jsonl``)."""
        if reference.endswith(RECORDING_ENDING):
            return read_record(Path(reference))
        with self._open() as store:
            return store.record(store.find(reference))

    def delete(self, reference: str) -> str:
        """Forget a run and the baselines that name it; returns its id."""
        with self._open() as store:
            run_id = store.find(reference)
            store.delete(run_id)
            return run_id

    def baselines(self) -> dict[str, str]:
        """Run ids by baseline name."""
        with self._open() as store:
            return store.baselines()

    def name_baseline(self, name: str, reference: str) -> str:
        """Call a run ``name`` from now on; returns its id."""
        _check_name(name)
        with self._open() as store:
            run_id = store.find(reference)
            store.name_baseline(name, run_id)
            return run_id

    def compare(self, a: str, b: str) -> RunComparison:
        """Run ``b`` against run ``a``; ConfigError also when they share no cell."""
        return compare_records(self.run(a), self.run(b))

    def comparison_tables(self, a: str, b: str) -> tuple[Table, ...]:
        """What differs between two runs, then how each cell changed from ``a`` to ``b``."""
        return comparison_tables(self.compare(a, b))

    def _open(self) -> Store:
        return open_store(store_path(), self._tell)


def _check_name(name: str) -> None:
    """Raise ConfigError for a name that could be taken for something else."""
    if not name.strip() or name.partition("~")[0] == LAST or name.endswith(RECORDING_ENDING):
        raise ConfigError(f"{name!r} cannot be a baseline's name: it reads as a run, a recording or nothing.")
