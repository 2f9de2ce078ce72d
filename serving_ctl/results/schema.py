"""The tables of the store, as the steps that made them: a file of version N has had the first N steps.

A step is never changed after a release; what changes is added as a further step.
"""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE run (
            id TEXT PRIMARY KEY,
            started_at TEXT NOT NULL,
            started TEXT NOT NULL,   -- RunStarted as JSON: plan, targets, fairness card, fingerprint
            ended TEXT,              -- RunFinished or RunFailed as JSON; NULL for a run that was cut off
            rates TEXT NOT NULL DEFAULT '[]'  -- smallest and largest ratio of each ladder, as JSON
        )""",
        """CREATE TABLE cell (
            run TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
            ladder TEXT NOT NULL,
            size INTEGER NOT NULL,
            server TEXT NOT NULL,
            round INTEGER NOT NULL,
            p50_ms REAL,
            p99_ms REAL,
            throughput_rps REAL NOT NULL,
            finished TEXT NOT NULL,  -- CellFinished as JSON, without its histogram
            histogram TEXT NOT NULL, -- request times in HdrHistogram's V2 compressed encoding, base64
            PRIMARY KEY (run, ladder, size, server, round)
        )""",
        """CREATE TABLE fingerprint (
            run TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (run, key)
        )""",
        """CREATE TABLE baseline (
            name TEXT PRIMARY KEY,
            run TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE
        )""",
    ),
)
