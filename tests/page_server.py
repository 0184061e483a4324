"""`atomtune ui` as a process of its own in a working folder, for tests that talk to it over HTTP or with a browser."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError

ROOT = Path(__file__).parents[1]


class PageServer:
    """A server that can be killed and started again at the same address."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.arguments = list(arguments)
        self.port = "0"
        self.process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> "PageServer":
        """Start it, and wait until it answers."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "atomtune", "ui", "--port", self.port, *self.arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://"), self.address
        self.port = self.address.split("/?")[0].rstrip("/").rsplit(":", 1)[1]
        for _ in range(600):
            try:
                urllib.request.urlopen(self.address, timeout=30)
            except HTTPError:  # it answers, and asks who we are
                break
            except (URLError, ConnectionError):
                time.sleep(0.1)
                continue
            break
        return self

    def kill(self) -> None:
        """End it as a power failure would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End it, and what it started."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
