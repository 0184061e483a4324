"""The process that runs one job's command and notes down what became of it: `python -m atomtune.ui.job_process FOLDER`.

It has a session of its own, so that it goes on where the server, the page or the terminal is closed.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ..files.atomic import write_text
from ..files.untrusted_json import read_json


def main(folder: Path) -> int:
    """Run the job of a folder; the exit code is its command's."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the command is asked to stop, and this process notes how it ended
    arguments = read_json(folder / "job.json")["arguments"]
    try:
        os.close(os.open(folder / "stdout", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return 0  # another process has it
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "atomtune", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            restore_signals=True,
            preexec_fn=_default_signals,
        )
        processes = {"runner": _process(os.getpid()), "child": _process(child.pid)}
        write_text(folder / "process.json", json.dumps(processes) + "\n")
        if (folder / "stop.json").exists():  # asked in the meantime
            child.terminate()
        code = child.wait()
    write_text(folder / "ended.json", json.dumps({"code": code, "at": time.time()}) + "\n")
    return code


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _process(number: int) -> dict[str, float]:
    import psutil

    return {"pid": number, "began": psutil.Process(number).create_time()}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
