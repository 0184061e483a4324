"""A small server here that answers as the hub does, for processes of their own that ask it."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A server of one repository.

    Attributes:
        asked: the files that were fetched from it. made, cards: repositories and model cards that were sent to it.
    """

    def __init__(self, folder: Path, repository: str = "someone/tiny") -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.requests = 0
        self.made: list[dict[str, Any]] = []
        self.cards: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                hub.requests += 1
                path = self.path.split("?")[0]
                if path.startswith(f"/api/models/{repository}"):
                    files = [file for file in sorted(hub.folder.rglob("*")) if file.is_file()]
                    names = [file.relative_to(hub.folder).as_posix() for file in files]
                    info: object = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
                    if "/tree/" in path:
                        sizes = [file.stat().st_size for file in files]
                        listed = zip(names, sizes, strict=True)
                        info = [{"type": "file", "path": n, "size": size, "oid": "0" * 40} for n, size in listed]
                    self.answer(json.dumps(info).encode(), {"Content-Type": "application/json"})
                    return
                name = path.partition(f"/resolve/{COMMIT}/")[2] or path.partition("/resolve/main/")[2]
                file = hub.folder / name
                if not name or not file.is_file():
                    known = path.startswith((f"/{repository}/", f"/api/models/{repository}"))
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
                    self.end_headers()
                    return
                content = file.read_bytes()
                if self.command == "GET":
                    hub.asked.append(name)
                etag = f'"{hashlib.sha256(content).hexdigest()}"'
                self.answer(content, {"ETag": etag, "X-Repo-Commit": COMMIT})

            def do_POST(self) -> None:
                """Making a repository, checking a card, and a commit of files that come within it."""
                hub.requests += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                path = self.path.split("?")[0]
                answer: object = {}
                if path == "/api/repos/create":
                    hub.made.append(json.loads(body))
                    answer = {"url": f"http://127.0.0.1/{repository}", "id": repository}
                elif path == "/api/validate-yaml":
                    hub.cards.append(json.loads(body)["content"])
                    answer = {"errors": [], "warnings": []}
                elif "/preupload/" in path:
                    files = json.loads(body)["files"]
                    known = {"uploadMode": "regular", "shouldIgnore": False}
                    answer = {"files": [{"path": file["path"], **known} for file in files]}
                elif "/commit/" in path:
                    for line in map(json.loads, body.splitlines()):
                        if line["key"] == "file":
                            file = hub.folder / line["value"]["path"]
                            file.parent.mkdir(parents=True, exist_ok=True)
                            file.write_bytes(base64.b64decode(line["value"]["content"]))
                    url = f"http://127.0.0.1/{repository}/commit/{COMMIT}"
                    answer = {"commitUrl": url, "commitOid": COMMIT, "pullRequestUrl": None}
                self.answer(json.dumps(answer).encode(), {"Content-Type": "application/json"})

            def answer(self, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(200)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    def run(self, code: str, home: Path, *arguments: str) -> str:
        """What a process of its own prints that runs this code and takes this server for the hub."""
        self.asked, self.requests = [], 0
        address = f"http://127.0.0.1:{self.server.server_address[1]}"
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
        environment |= {"HF_TOKEN": "hf_of_a_test"}
        environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
