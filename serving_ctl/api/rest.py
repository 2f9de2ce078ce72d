"""Control requests to one served model: status, metadata, a probe predict. httpx; never used where time is measured."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType, TracebackType
from typing import Any, Self

import httpx
import msgspec

from serving_ctl.config import Settings
from serving_ctl.errors import ConfigError, ServerAnswerError

METRICS_PATH = "/monitoring/prometheus/metrics"
CONTROL_TIMEOUT_S = 5.0


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a served model: state is START, LOADING, AVAILABLE, UNLOADING or END."""

    version: str
    state: str
    error: str = ""


def external_headers(settings: Settings, server: str, runtime: str) -> dict[str, str]:
    """The headers that every request to ``server`` carries: those of an external one, ``env:NAME`` looked up.

    Raises ConfigError naming the variable that is not set; a value is in no text of ours.
    """
    if runtime != "external":
        return {}
    return {name: _header_value(server, name, value) for name, value in settings.server(server).headers.items()}


def _header_value(server: str, name: str, value: str) -> str:
    variable = value.removeprefix("env:")
    found = os.environ.get(variable, "") if variable != value else value
    if not found:
        raise ConfigError(f"[{server}] headers: {name} is taken from the environment variable {variable}: set it.")
    if not (found.isascii() and found.isprintable()):
        raise ConfigError(f"[{server}] headers: the value of {name} cannot be sent: use printable ASCII.")
    return found


class ModelClient:
    """Asks one server about one model. Use as an async context manager."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        timeout_s: float = CONTROL_TIMEOUT_S,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.headers = dict(headers)
        # The system's certificates (or SSL_CERT_FILE); reading them takes 25 ms, which plain HTTP need not wait for.
        verify = ssl.create_default_context() if base_url.startswith("https:") else False
        # A control request never goes through a proxy that the environment names: it would reach another machine.
        self._http = httpx.AsyncClient(timeout=timeout_s, trust_env=False, verify=verify, headers=self.headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    @property
    def model_url(self) -> str:
        """``…/v1/models/NAME``."""
        return f"{self.base_url}/v1/models/{self.model}"

    @property
    def predict_url(self) -> str:
        """``…/v1/models/NAME:predict``."""
        return predict_url(self.base_url, self.model)

    async def status(self, *, timeout_s: float | None = None) -> tuple[ModelVersion, ...]:
        """States of all versions, newest first. Raises ServerAnswerError."""
        answer = await self._json("GET", self.model_url, **({"timeout": timeout_s} if timeout_s else {}))
        try:
            return tuple(
                ModelVersion(version=item["version"], state=item["state"], error=item["status"]["error_message"])
                for item in answer["model_version_status"]
            )
        except (KeyError, TypeError):
            raise ServerAnswerError(f"{self.model_url}: not a model status: {_snippet(json.dumps(answer))}") from None

    async def metadata(self) -> dict[str, Any]:
        """The metadata document as the server sends it. Raises ServerAnswerError."""
        return await self._json("GET", f"{self.model_url}/metadata")

    async def predict(self, body: bytes, *, timeout_s: float | None = None) -> dict[str, Any]:
        """The answer to one predict body. Raises ServerAnswerError with the server's own words."""
        return await self._json("POST", self.predict_url, content=body, timeout=timeout_s or CONTROL_TIMEOUT_S)

    async def metrics(self) -> str | None:
        """The Prometheus text, or None when the server has none."""
        try:
            answer = await self._http.get(self.base_url + METRICS_PATH)
        except httpx.HTTPError:
            return None
        return answer.text if answer.status_code == httpx.codes.OK else None

    async def _json(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, url, **options)
        except httpx.TimeoutException:
            raise ServerAnswerError(f"{url}: no answer in time.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerAnswerError(f"{url}: {str(error) or type(error).__name__}") from None
        try:
            document = json.loads(answer.content)
        except ValueError:
            raise ServerAnswerError(
                f"{url}: status {answer.status_code}, not JSON: {_snippet(answer.text)}. "
                "Is this a TensorFlow Serving REST port?"
            ) from None
        if answer.status_code != httpx.codes.OK:
            text = document.get("error", document) if isinstance(document, dict) else document
            raise ServerAnswerError(f"{url}: status {answer.status_code}: {_snippet(str(text))}")
        if not isinstance(document, dict):
            raise ServerAnswerError(f"{url}: the answer is no JSON object: {_snippet(answer.text)}")
        return document


def predict_url(base_url: str, model: str) -> str:
    """``…/v1/models/NAME:predict`` of the server at ``base_url``."""
    return f"{base_url}/v1/models/{model}:predict"


@asynccontextmanager
async def model_clients(
    urls: Sequence[str], model: str, *, timeout_s: float = CONTROL_TIMEOUT_S, headers: Mapping[str, str]
) -> AsyncIterator[tuple[ModelClient, ...]]:
    """One client for each address of a server."""
    async with AsyncExitStack() as stack:
        made = [ModelClient(url, model, timeout_s=timeout_s, headers=headers) for url in urls]
        yield tuple([await stack.enter_async_context(client) for client in made])


def _snippet(text: str, width: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
