"""What a server counts, as Prometheus reads it. Labels come from closed sets alone."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from composer.jobs.transcription import Transcription

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 600)
FACTORS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "composer_requests", "Requests that were answered.", ["route", "status"], **own
        )
        self.seconds = Histogram(
            "composer_request_duration_seconds",
            "Time from a request to its answer.",
            ["route"],
            buckets=SECONDS,
            **own,
        )
        self.first = Histogram(
            "composer_time_to_first_token_seconds",
            "Time from a request to its first text.",
            ["model"],
            buckets=SECONDS,
            **own,
        )
        self.wait = Histogram(
            "composer_queue_wait_seconds", "Time in the queue.", buckets=SECONDS, **own
        )
        self.audio = Counter("composer_audio_seconds", "Audio transcribed.", ["model"], **own)
        self.factor = Histogram(
            "composer_real_time_factor",
            "Seconds of running for a second of audio.",
            ["model"],
            buckets=FACTORS,
            **own,
        )
        self.tokens = Counter("composer_tokens", "Tokens.", ["model", "kind"], **own)
        self.retries = Counter("composer_retries", "Requests that were tried again.", **own)
        self.errors = Counter("composer_errors", "Refusals by their code.", ["code"], **own)
        info = Gauge("composer_build_info", "Versions.", ["version", "python"], **own)
        info.labels(version("bundle-composer"), platform.python_version()).set(1)

    def add_gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Show a number as it is when it is asked for."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def record_transcription(self, model: str, each: Transcription) -> None:
        """Count a transcription."""
        self.audio.labels(model).inc(each.duration)
        self.record_tokens(model, each.prompt_tokens, each.tokens)
        if each.duration:
            self.factor.labels(model).observe(each.seconds / each.duration)

    def record_tokens(self, model: str, read: int, written: int) -> None:
        """Count the tokens of a run."""
        self.tokens.labels(model, "prompt").inc(read)
        self.tokens.labels(model, "generated").inc(written)

    def render(self) -> bytes:
        """Return all as text."""
        return generate_latest(self.registry)
