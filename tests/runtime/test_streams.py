"""Streams that outlive their terminal."""

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atomtune.runtime.streams import LastingStream, can_show, lasting_streams


@pytest.fixture
def broken_pipe() -> Iterator[io.TextIOWrapper]:
    """A pipe whose reader is gone, as after `atomtune … 2>&1 | tee`, when tee was killed."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8", buffering=1) as stream:
        yield stream


def test_a_pipe_without_a_reader_fails_nobody(broken_pipe: io.TextIOWrapper) -> None:
    lasting = LastingStream(broken_pipe)
    for number in range(3):
        print("step", number, file=lasting, flush=True)
    broken_pipe.flush()  # nothing is left that would fail when Python exits


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device there")
def test_a_full_device_fails_nobody() -> None:
    with Path("/dev/full").open("w", encoding="utf-8", buffering=1) as stream:
        lasting = LastingStream(stream)
        print("step", file=lasting, flush=True)
        print("step", file=lasting, flush=True)


def test_a_closed_stream_fails_nobody() -> None:
    stream = io.StringIO()
    stream.close()
    print("step", file=LastingStream(stream), flush=True)


def test_everything_else_is_the_streams_own(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="latin-1") as stream:
        lasting = LastingStream(stream)
        print("step", file=lasting, flush=True)
        assert (lasting.encoding, lasting.isatty(), lasting.fileno()) == ("latin-1", False, stream.fileno())
    assert (tmp_path / "log").read_text() == "step\n"


def test_letters_that_an_encoding_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with lasting_streams():
        for text, stream in (("猫\n", sys.stdout), ("Élan\n", sys.stderr)):
            stream.write(text)
            stream.flush()
    assert out.buffer.getvalue() == b"\\u732b\n"  # type: ignore[attr-defined]
    assert err.buffer.getvalue() == b"\\xc9lan\n"  # type: ignore[attr-defined]
    assert sys.stderr is err


def test_what_an_encoding_can_show() -> None:
    ascii_stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert can_show("cat", ascii_stream)
    assert not can_show("猫", ascii_stream)
    assert can_show("猫", io.StringIO())
