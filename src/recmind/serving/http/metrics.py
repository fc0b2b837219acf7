"""What Prometheus reads: requests by route and status, their time, what waits, and how much is served."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from recmind import __version__
from recmind.serving.http.service import Service

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.08, 0.15, 0.3, 0.6, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one server; routes are templates, so that no id becomes a label."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(_Served(service))
        names = ("method", "route", "status")
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._requests = Counter("recmind_requests", "Requests answered", names, registry=self.registry)
        self._seconds = Histogram(
            "recmind_request_seconds",
            "From the headers to the end of the answer",
            ("route",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.under_way = Gauge("recmind_requests_under_way", "Requests under way", registry=self.registry)
        self.reloads = Counter("recmind_reloads", "Reloads of a bundle", ("result",), registry=self.registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        key = method, route, status
        if key not in self._children:
            self._children[key] = self._requests.labels(method, route, str(status)), self._seconds.labels(route)
        counter, histogram = self._children[key]
        counter.inc()
        histogram.observe(seconds)

    def text(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self.registry)


class _Served(Collector):
    """Counts that the service knows anyway."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        status = self._service.live.status
        info = {"bundle": status.bundle, "model": status.model, "version": __version__}
        yield InfoMetricFamily("recmind_serving", "What is served", value=info)
        for name in ("items", "users", "items_added", "items_deleted", "users_added", "users_deleted"):
            yield GaugeMetricFamily(f"recmind_{name}", name.replace("_", " "), value=getattr(status.counts, name))
        yield GaugeMetricFamily(
            "recmind_interactions_added", "interactions added", value=status.counts.interactions_added
        )
        waiting = GaugeMetricFamily("recmind_calls_under_way", "Calls in threads or waiting for one", labels=["kind"])
        for kind in ("lists", "words", "changes"):
            waiting.add_metric([kind], getattr(self._service, kind).under_way)
        yield waiting
