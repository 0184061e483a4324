"""A server of images as a process, clients that ask it, and a look at its memory meanwhile."""

import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from .processes import Failed

_APART = 0.25  # seconds between two looks
_LONGEST = 600  # seconds for an answer


@dataclass(frozen=True)
class Answer:
    """The answer to a request, and the seconds that it took."""

    status: int
    body: bytes
    seconds: float


@dataclass
class Watch:
    """What was seen of a server: requests answered and its resident bytes, and the bytes in its cache."""

    memory: list[tuple[int, int]] = field(default_factory=list)
    cache: list[float] = field(default_factory=list)


class Server:
    """A context within which a command answers requests; it prints its address as JSON.

    Raises Failed where it does not begin, or does not end well.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.answered = 0
        self._command, self._folder, self._environment = command, folder, environment

    def __enter__(self) -> "Server":
        import os

        self._errors = (self._folder / "server.log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env={**os.environ, **self._environment},
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._process.stdout is not None
        text = ""
        while line := self._process.stdout.readline():
            text += line
            try:
                self._address = urlsplit(json.loads(text)["address"])
                return self
            except ValueError:
                continue
        self._process.wait()
        raise self._failed("does not begin")

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._process.terminate()
        code = self._process.wait(timeout=_LONGEST)
        if kind is None and code not in (0, 143):
            raise self._failed(f"ended with {code}")
        self._errors.close()

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """Ask for an image."""
        began = time.perf_counter()
        status, body = self._call("POST", "/v1/images", json.dumps(request).encode())
        self.answered += 1
        return Answer(status, body, time.perf_counter() - began)

    def figures(self) -> dict[str, float]:
        """The figures without labels of /metrics, by name."""
        _, body = self._call("GET", "/metrics")
        rows = [line.split() for line in body.decode().splitlines() if not line.startswith("#")]
        return {row[0]: float(row[1]) for row in rows if "{" not in row[0]}

    def peak_bytes(self) -> int:
        """The most resident memory that the process had."""
        return self._status("VmHWM:")

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """A context within which memory and cache are looked at."""
        watch, over = Watch(), threading.Event()

        def look() -> None:
            while not over.wait(_APART):
                watch.memory.append((self.answered, self._status("VmRSS:")))
                watch.cache.append(self.figures()["atomtune_cache_bytes"])

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield watch
        finally:
            over.set()
            thread.join()

    def _call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=_LONGEST)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body is not None else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _status(self, key: str) -> int:
        for line in Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
        raise Failed(f"the system does not tell {key}")

    def _failed(self, what: str) -> Failed:
        self._errors.seek(0)
        last = "\n".join(self._errors.read().splitlines()[-8:])
        return Failed(f"the server {what}:\n{last}")


def ask_all(server: Server, requests: Sequence[Mapping[str, Any]], clients: int) -> tuple[list[Answer], float]:
    """Have so many clients ask, each for the next image as soon as it has its last answer.

    Returns the answers in the order of the requests, and the seconds that it all took. Raises what a client met.
    """
    answers: dict[int, Answer] = {}
    problems: list[Exception] = []
    numbers, lock = iter(range(len(requests))), threading.Lock()

    def ask() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                answers[number] = server.ask(requests[number])
            except OSError as problem:
                problems.append(problem)
                return

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if problems:
        raise Failed(f"a client got no answer: {problems[0]}")
    return [answers[number] for number in range(len(requests))], seconds
