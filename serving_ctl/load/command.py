"""``tfserve-tui load URL …`` without the command line: options become a spec, a result becomes the JSON document."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import msgspec

from serving_ctl.errors import ConfigError, LoadError
from serving_ctl.load.balance import names
from serving_ctl.load.calibrate import Calibration
from serving_ctl.load.wire import parse_url, read_bodies
from serving_ctl.load.work import LoadResult, LoadSpec, Stage, StopRule
from serving_ctl.stats.latency import mean_ms, shown_quantile_ms

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


def load_spec(
    url: str,
    *,
    also: Iterable[str] = (),
    method: str | None = None,
    headers: Iterable[str] = (),
    body_file: Path | str | None = None,
    clients: int = 1,
    requests: int | None = None,
    seconds: float | None = None,
    rate: float | None = None,
    poisson: bool = False,
    stages: Iterable[str] = (),
    gzip: bool = False,
) -> LoadSpec:
    """The spec of one command: ``also`` are further URLs that share the load, ``headers`` are ``NAME: VALUE`` texts,
    ``stages`` are ``SECONDS:TARGET`` texts, a body makes the method POST, 200 requests if nothing says when to stop.
    Raises ConfigError.
    """
    if clients < 1:
        raise ConfigError(f"-c {clients}: at least 1 client is needed")
    if requests is not None and seconds is not None:
        raise ConfigError("-n and -z exclude each other: stop by count or by time")
    ramp = tuple(_stage(text) for text in stages)
    if ramp and (requests is not None or seconds is not None):
        raise ConfigError("--stage says how long the load lasts; leave -n and -z out")
    if poisson and rate is None:
        raise ConfigError("--poisson is a way of arriving at a --rate; give one")
    for option, value in (("-n", requests), ("-z", seconds), ("--rate", rate)):
        if value is not None and value <= 0:
            raise ConfigError(f"{option} {value}: must be above 0")
    if seconds is None:
        stop = StopRule(requests=200 if requests is None else requests, seconds=0.0, max_seconds=None)
    else:
        stop = StopRule(requests=0, seconds=seconds, max_seconds=seconds, floor_requests=0)
    bodies = str(Path(body_file).absolute()) if body_file is not None else None
    try:
        names([parse_url(one) for one in (url, *also)])
        read_bodies(bodies)
    except LoadError as error:
        raise ConfigError(str(error)) from None
    return LoadSpec(
        url=url,
        also=tuple(also),
        method=(method or ("GET" if body_file is None else "POST")).upper(),
        headers=tuple(_header(text) for text in headers),
        bodies_file=bodies,
        clients=clients,
        stop=stop,
        gzip=gzip,
        rate_rps=rate,
        arrivals="poisson" if poisson else "constant",
        stages=ramp,
    )


def load_document(spec: LoadSpec, result: LoadResult, calibration: Calibration | None = None) -> dict[str, object]:
    """The JSON document of ``load --json`` (a contract); a quantile that R15 withholds is null, and so is what was not
    calibrated."""
    counts = result.latency
    shown: dict[str, float | None] = {"mean": mean_ms(counts)}
    shown |= {name: shown_quantile_ms(counts, p) for name, p in _QUANTILES.items()}
    shown["max"] = counts.max_us / 1e3 if counts.count else None
    return {
        "url": spec.url,
        "addresses": result.addresses,
        "clients": spec.clients,
        "requests": result.requests,
        "errors": {kind: error.count for kind, error in result.errors.items()},
        "examples": {kind: error.example for kind, error in result.errors.items()},
        "duration_s": result.duration_s,
        "throughput_rps": result.throughput_rps,
        "latency_ms": shown,
        "client": {
            "cpu_s": result.client.cpu_s,
            "lag_ms_p99": result.client.lag_ms_p99,
            "limited": "CLIENT-LIMITED" in result.flags,
            "late": result.client.late,
            "peak_rss_mb": result.client.peak_rss_mb,
            "floor_ms": calibration.floor_ms if calibration else None,
            "ceiling_rps": calibration.ceiling_rps if calibration else None,
        },
        "latency": "request" if result.response is None else "response",
        "flags": list(result.flags),
        "origin": msgspec.to_builtins(result.origin),
    }


def _stage(text: str) -> Stage:
    seconds, colon, target = text.partition(":")
    try:
        stage = Stage(seconds=float(seconds), target=float(target))
    except ValueError:
        stage = Stage(seconds=0.0, target=0.0)
    if not colon or not (0 < stage.seconds < math.inf and 0 <= stage.target < math.inf):
        raise ConfigError(f"--stage {text!r}: write SECONDS:TARGET, such as 10:500")
    return stage


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ConfigError(f"-H {text!r}: write NAME: VALUE")
    return name.strip(), value.strip()
