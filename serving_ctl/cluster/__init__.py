"""Load from many machines: one ``LoadSpec`` shared by the workers of a Dask cluster, one ``LoadResult`` of them all.

``address`` reads what ``--cluster`` says, ``connect`` opens it, ``link`` is all that talks Dask, ``agent`` is what runs
on a Dask worker, ``clocks`` makes many clocks one, ``crew`` holds the workers of a run, ``load`` is what the runner
sees of them and ``shared`` one load on them. Dask is imported when a cluster is opened, never before.
"""

from __future__ import annotations

from serving_ctl.cluster.connect import open_cluster

__all__ = ["open_cluster"]
