"""The engine: one thread that owns the pipeline, and the queue of what it is to generate."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from PIL import Image

from ..runtime.out_of_memory import as_out_of_memory_error
from ..runtime.progress import Events
from ..sampling.apply import holding, merged_values
from ..sampling.changes import LoadedAtoms, Target
from ..sampling.generate import generate_images
from ..sampling.options import Settings
from .weight_cache import Merged, WeightCache


@dataclass(frozen=True)
class Wanted:
    """An image to generate: a prompt as the text encoder gets it, a seed, how, and with which atoms."""

    prompt: str
    seed: int
    settings: Settings
    atoms: tuple[LoadedAtoms, ...]

    @property
    def concepts(self) -> tuple[tuple[str, float], ...]:
        """The atoms and their scales; the base model's weights change in the same way where this is the same."""
        return tuple((item.sha256, item.scale) for item in self.atoms)


class QueueFull(Exception):
    """As many requests wait as may."""


class Engine:
    """Generates images one batch after the other, each as `sample` would.

    A batch is the oldest request and those behind it that have the same concepts and settings. Weights of a set of
    concepts are computed once while the cache holds them; to change from one set to another moves no memory.

    Args:
        pipeline: on its device; nobody else may use it.
        queue: requests that may wait.
        cache: bytes of adapted weights to keep.
        generated: is told of every batch: its images and seconds.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        queue: int,
        cache: int,
        batch_size: int = 1,
        events: Events | None = None,
        generated: Callable[[int, float], None] = lambda images, seconds: None,
    ) -> None:
        self.cache = WeightCache(cache)
        self._pipeline, self._target = pipeline, Target(pipeline)
        self._most, self._batch_size = queue, batch_size
        self._events, self._generated = events or Events(), generated
        self._waiting: deque[tuple[Wanted, Future[Image.Image]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # a new thread has a number of torch threads of its own
        self._threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it takes requests."""
        return self._thread.is_alive() and not self._closed

    @property
    def queued(self) -> int:
        """How many requests wait, those that were given up included."""
        return len(self._waiting)

    def submit(self, wanted: Wanted) -> "Future[Image.Image]":
        """Put a request in the queue. The future can be cancelled while it waits.

        Raises QueueFull; RuntimeError where the engine was closed.
        """
        future: Future[Image.Image] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the engine is closed")
            if len(self._waiting) >= self._most:  # those that nobody waits for any more take no place
                self._waiting = deque(item for item in self._waiting if not item[1].cancelled())
            if len(self._waiting) >= self._most:
                raise QueueFull
            self._waiting.append((wanted, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Cancel what waits, and end the thread after the batch that it is at."""
        with self._changed:
            self._closed = True
            for _, future in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        while batch := self._take():
            wanted = [item for item, _ in batch]
            began = perf_counter()
            try:
                images = self._images(wanted)
            except Exception as problem:  # of this batch; the next one may be another
                for _, future in batch:
                    future.set_exception(problem)
                continue
            self._generated(len(images), perf_counter() - began)
            for (_, future), image in zip(batch, images, strict=True):
                future.set_result(image)

    def _take(self) -> list[tuple[Wanted, "Future[Image.Image]"]]:
        """The next batch; waits for one. Empty where the engine was closed."""
        batch: list[tuple[Wanted, Future[Image.Image]]] = []
        with self._changed:
            while not batch:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return []
                later: deque[tuple[Wanted, Future[Image.Image]]] = deque()
                for wanted, future in self._waiting:
                    if len(batch) < self._batch_size and _together(batch[0][0] if batch else wanted, wanted):
                        if future.set_running_or_notify_cancel():
                            batch.append((wanted, future))
                    else:
                        later.append((wanted, future))
                self._waiting = later
        return batch

    def _images(self, wanted: list[Wanted]) -> list[Image.Image]:
        first = wanted[0]
        with as_out_of_memory_error("sampling", lambda: "a smaller size, or a server with a smaller --cache"):
            merged = self.cache.get(first.concepts, lambda: self._merged(first)) if first.atoms else []
            with holding(merged):
                pairs = [(item.prompt, item.seed) for item in wanted]
                return list(generate_images(self._pipeline, pairs, first.settings, len(pairs)))

    def _merged(self, wanted: Wanted) -> Merged:
        found = merged_values(self._target, wanted.atoms, self._events)
        return [(tensor, value) for _, _, tensor, value in found]


def _together(one: Wanted, other: Wanted) -> bool:
    return one.concepts == other.concepts and one.settings == other.settings
