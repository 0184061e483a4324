"""Figures of the server, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from .engine import Engine

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The figures of one server, apart from those of other ones in the process."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "atomtune_requests",
            "Requests for images, by status.",
            ["status"],
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "atomtune_request_seconds", "From a request to its image.", buckets=_SECONDS, registry=self._registry
        )
        self._images = Counter("atomtune_images", "Images that were generated.", registry=self._registry)
        self._batch_seconds = Histogram(
            "atomtune_batch_seconds", "Generation of a batch of images.", buckets=_SECONDS, registry=self._registry
        )

    def watch(self, engine: Engine) -> None:
        """Tell of an engine's queue and cache whenever the figures are asked for."""
        figures = engine.cache.figures
        shown = {
            "atomtune_queue_length": ("Requests that wait.", lambda: engine.queued),
            "atomtune_cache_bytes": ("Adapted weights that are kept, in bytes.", lambda: engine.cache.bytes),
            "atomtune_cache_entries": ("Sets of concepts whose weights are kept.", lambda: len(engine.cache)),
            "atomtune_cache_hits": ("Batches whose weights were kept.", lambda: figures.hits),
            "atomtune_cache_misses": ("Batches whose weights were computed.", lambda: figures.misses),
            "atomtune_cache_evictions": ("Sets of concepts that made place for others.", lambda: figures.evicted),
        }
        for name, (text, value) in shown.items():
            Gauge(name, text, registry=self._registry).set_function(value)

    def answered(self, status: int, seconds: float) -> None:
        """Count a request for an image and its answer."""
        self._requests.labels(str(status)).inc()
        if status == 200:
            self._request_seconds.observe(seconds)

    def generated(self, images: int, seconds: float) -> None:
        """Count a batch."""
        self._images.inc(images)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All figures in Prometheus' format."""
        return generate_latest(self._registry)
