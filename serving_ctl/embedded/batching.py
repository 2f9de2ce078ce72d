"""Server-side batching: requests for one signature that come together run as one.

Works like TensorFlow Serving's batching session: an open batch takes tasks until it is full or its timeout has passed,
a pool of batch threads runs what is due, a full queue refuses. Blocking: the request's thread waits for its share.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from serving_ctl.embedded.config_files import BatchingParameters
from serving_ctl.embedded.metrics import Metrics
from serving_ctl.embedded.status import StatusError, invalid
from serving_ctl.embedded.tensors import Tensor

if TYPE_CHECKING:
    from serving_ctl.embedded.servable import Ran, Signature


@dataclass
class _Task:
    tensors: dict[str, Tensor]
    size: int
    enqueued: float
    done: Future[Ran] = field(default_factory=Future)


@dataclass
class _Batch:
    signature: Signature
    parameters: BatchingParameters
    due: float
    tasks: list[_Task] = field(default_factory=list)
    size: int = 0

    def add(self, task: _Task) -> None:
        self.tasks.append(task)
        self.size += task.size


class Batcher:
    """Collects runs of all signatures; ``close`` ends its threads."""

    def __init__(self, threads: int, metrics: Metrics, timeout_s: float | None) -> None:
        """``threads`` run batches; ``timeout_s`` limits how long one request waits for its share; None: no limit."""
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._queues: dict[Signature, deque[_Batch]] = {}
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch_{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, signature: Signature, tensors: dict[str, Tensor], parameters: BatchingParameters) -> Ran:
        """Run as part of a batch; StatusError if the task does not fit, the queue is full, or the run fails."""
        task = _Task(tensors, _task_size(tensors, parameters.max_batch_size), time.perf_counter())
        with self._changed:
            self._enqueue(signature, task, parameters)
            self._changed.notify()
        try:
            return task.done.result(self._timeout_s)
        except TimeoutError:
            raise StatusError("DEADLINE_EXCEEDED", "Timed out waiting for its batch") from None

    def close(self) -> None:
        """End the threads once the batch each of them runs is done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _enqueue(self, signature: Signature, task: _Task, parameters: BatchingParameters) -> None:
        queue = self._queues.setdefault(signature, deque())
        if not queue or queue[-1].size + task.size > parameters.max_batch_size:
            if len(queue) >= parameters.max_enqueued_batches:
                raise StatusError(
                    "UNAVAILABLE",
                    "The batch scheduling queue to which this task was submitted is full;"
                    f" currently there are {len(queue)} batches enqueued",
                )
            if queue:
                queue[-1].due = 0.0
            queue.append(_Batch(signature, parameters, task.enqueued + parameters.batch_timeout_micros / 1e6))
        queue[-1].add(task)
        if queue[-1].size == parameters.max_batch_size:
            queue[-1].due = 0.0

    def _work(self) -> None:
        while True:
            batch = self._next()
            if batch is None:
                return
            self._run_batch(batch)

    def _next(self) -> _Batch | None:
        """The batch that has been due longest; waits for one. None when closed."""
        with self._changed:
            while not self._closed:
                first = min((queue[0] for queue in self._queues.values()), key=lambda batch: batch.due, default=None)
                wait_s = None if first is None else first.due - time.perf_counter()
                if first is not None and wait_s is not None and wait_s <= 0:
                    self._take(first)
                    return first
                self._changed.wait(wait_s)
        return None

    def _take(self, batch: _Batch) -> None:
        queue = self._queues[batch.signature]
        queue.popleft()
        if not queue:
            del self._queues[batch.signature]

    def _run_batch(self, batch: _Batch) -> None:
        began = time.perf_counter()
        padding = _padding(batch.size, batch.parameters.allowed_batch_sizes)
        sizes = [task.size for task in batch.tasks]
        try:
            merged = _merge(batch.tasks, padding, pad=batch.parameters.pad_variable_length_inputs)
            ran = batch.signature.run(merged)
            self._metrics.graph_run(ran.graph_s)
            shares = _split(ran.outputs, sizes, padding)
        except Exception as error:
            # Whatever it is belongs to the requests that wait; the thread has other batches to run.
            for task in batch.tasks:
                task.done.set_exception(error)
            return
        self._metrics.batch([began - task.enqueued for task in batch.tasks], sizes, padding)
        for task, share in zip(batch.tasks, shares, strict=True):
            task.done.set_result(replace(ran, outputs=share))


def _task_size(tensors: dict[str, Tensor], most: int) -> int:
    if not all(tensor.ndim for tensor in tensors.values()):
        raise invalid("Batching Run() input tensors must have at least one dimension.")
    sizes = {tensor.shape[0] for tensor in tensors.values()}
    if len(sizes) != 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size.")
    size = int(sizes.pop())
    if size > most:
        raise invalid(f"Task size {size} is larger than maximum input batch size {most}")
    return size


def _padding(size: int, allowed: Sequence[int]) -> int:
    """Rows to add so that the batch has an allowed size."""
    return next((fits - size for fits in allowed if fits >= size), 0)


def _merge(tasks: list[_Task], padding: int, *, pad: bool) -> dict[str, Tensor]:
    """The tasks' tensors one below the other, filled up with copies of the first row."""
    merged: dict[str, Tensor] = {}
    for name in tasks[0].tensors:
        parts = [task.tensors[name] for task in tasks]
        if len({part.shape[1:] for part in parts}) > 1:
            parts = _same_shape(name, parts, pad=pad)
        filler = [np.repeat(parts[0][:1], padding, axis=0)] if padding else []
        merged[name] = np.concatenate([*parts, *filler]) if len(parts) > 1 or filler else parts[0]
    return merged


def _same_shape(name: str, parts: list[Tensor], *, pad: bool) -> list[Tensor]:
    """Every part padded at the end of each dimension to the longest; strings with empty ones, numbers with 0."""
    if not pad or len({part.ndim for part in parts}) > 1:
        raise StatusError(
            "FAILED_PRECONDITION",
            f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off."
            "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal"
            " dimensions starting with the first dim.",
        )
    longest = np.max([part.shape[1:] for part in parts], axis=0)
    padded = []
    for part in parts:
        whole = np.full((part.shape[0], *longest), b"" if part.dtype == object else 0, part.dtype)
        whole[tuple(slice(size) for size in part.shape)] = part
        padded.append(whole)
    return padded


def _split(outputs: dict[str, Tensor], sizes: Sequence[int], padding: int) -> list[dict[str, Tensor]]:
    """Each task's rows of every output."""
    ends = np.cumsum(sizes)
    for tensor in outputs.values():
        if not tensor.ndim:
            raise StatusError("FAILED_PRECONDITION", "Batched output tensor has 0 dimensions")
        if tensor.shape[0] != ends[-1] + padding:
            raise StatusError(
                "FAILED_PRECONDITION",
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input"
                " tensors",
            )
    starts = [0, *ends[:-1].tolist()]
    spans = [slice(start, end) for start, end in zip(starts, ends.tolist(), strict=True)]
    return [{name: tensor[span] for name, tensor in outputs.items()} for span in spans]
