"""The page in a browser: teach a thing of pocket, stop, resume, generate, download, and go on with the command line.

`pytest -m browser tests/ui` runs these; each takes minutes, as it trains for real.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from page_server import ROOT, PageServer

pytest.importorskip("gradio", reason="needs the extra ui")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]
PATIENCE = 240_000  # milliseconds; pocket trains slowly on a busy machine
WIDE, NARROW = (1200, 900), (400, 800)


def atomtune(folder: Path, *arguments: str) -> str:
    """What a command of atomtune prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "atomtune", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working folder, with five images of a thing that pocket never saw, outside of `concepts`."""
    folder = tmp_path / "work"
    folder.mkdir()
    atomtune(folder, "pocket", "images", "--class", "dog", "--output", str(tmp_path / "photos"))
    return folder


@pytest.fixture
def server(work: Path) -> Iterator[PageServer]:
    """The page, served in the working folder."""
    served = PageServer(work, "--model", "pocket").start()
    yield served
    served.close()


@pytest.fixture
def open_page() -> Iterator[Callable[[str, tuple[int, int]], Any]]:
    """Opens the page in a browser of a size; nothing but the server is asked for anything."""
    foreign: list[str] = []
    with playwright.sync_playwright() as drivers:
        browser = drivers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def opened(address: str, size: tuple[int, int]) -> Any:
            page = browser.new_page(viewport={"width": size[0], "height": size[1]}, accept_downloads=True)
            page.on("request", lambda request: foreign.append(request.url) if is_foreign(request.url) else None)
            page.set_default_timeout(PATIENCE)
            page.goto(address)
            page.wait_for_selector("#teach-start")
            return page

        yield opened
        browser.close()
    assert not foreign


def is_foreign(url: str) -> bool:
    """Whether a request leaves this machine."""
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def fill(page: Any, field: str, text: str) -> None:
    """Type into the field of an id, by the label that a screen reader says."""
    page.locator(f"#{field}").locator("input, textarea").first.fill(text)


def words(page: Any, field: str, pattern: str) -> str:
    """Wait until a part of the page says something; returns all that it says."""
    part = page.locator(f"#{field}")
    playwright.expect(part).to_contain_text(re.compile(pattern), timeout=PATIENCE)
    return str(part.inner_text())


def begin(page: Any, photos: Path, steps: int, sample_every: int) -> None:
    """Name the concept, upload its photos, see what training sees, and start."""
    fill(page, "teach-name", "rex")
    fill(page, "teach-noun", "dog")
    page.locator("#teach-upload input[type=file]").set_input_files(sorted(map(str, photos.glob("*.png"))))
    words(page, "teach-said", "5 images now in")
    playwright.expect(page.get_by_label("Caption of 01.png")).to_have_value(re.compile("dog"), timeout=PATIENCE)
    fill(page, "train-steps", str(steps))
    fill(page, "train-sample-every", str(sample_every))
    page.locator("#teach-start").click()
    words(page, "teach-said", "job 1")


def open_tab(page: Any, name: str) -> None:
    """Open a tab, which a narrow page has in a menu."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if tab.is_visible():
        tab.click()
    else:
        page.locator(".overflow-menu button").first.click()
        page.locator(".overflow-dropdown button", has_text=name).click()


def watch(page: Any) -> None:
    """See the loss and an image of the training."""
    words(page, "teach-status", r"loss")
    page.wait_for_selector("#teach-loss canvas, #teach-loss svg.marks")
    page.wait_for_selector("#teach-previews img")


def stop_and_resume(page: Any, folder: Path, steps: int) -> None:
    """Stop, see that the state is saved, resume, and see the end."""
    page.locator("#teach-stop").click()
    words(page, "teach-status", r"stopped after step \d+")
    assert (folder / "runs" / "rex" / "checkpoint.safetensors").is_file()
    page.locator("#teach-resume").click()
    words(page, "teach-status", rf"state\s*done[\s\S]*{steps} of {steps}")
    losses = [json.loads(line)["step"] for line in (folder / "runs" / "rex" / "log.jsonl").read_text().splitlines()]
    assert losses == list(range(1, steps + 1))


def generate(page: Any, folder: Path) -> None:
    """Generate two images with the concept, and the base model's beside them."""
    open_tab(page, "Try")
    playwright.expect(page.locator("#try-concept-1 input")).to_have_value("rex", timeout=PATIENCE)
    fill(page, "try-prompt", "a <rex> in the snow")
    fill(page, "sample-steps", "4")
    page.locator("#try-generate").click()
    words(page, "try-status", r"state\s*done")
    assert len(list((folder / "runs" / "rex" / "samples").glob("0*.png"))) == 4
    playwright.expect(page.locator("#try-images img")).to_have_count(4, timeout=PATIENCE)
    page.locator("#try-images button:has(img)").nth(3).click()
    assert "seed" in words(page, "try-settings", "in the snow")


def download(page: Any, folder: Path, target: Path) -> None:
    """Download the atoms file, and have the command line generate with it."""
    open_tab(page, "Library")
    with page.expect_download() as waiting:
        page.locator("#library-download").click()
    waiting.value.save_as(target)
    assert target.read_bytes() == (folder / "runs" / "rex" / "rex.safetensors").read_bytes()
    printed = atomtune(
        folder, "sample", "--atoms", str(target), "--prompt", "a <rex>", "--steps", "2", "--output", "downloaded"
    )
    assert (folder / printed.strip()).is_file()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_thing_is_taught_watched_stopped_resumed_tried_and_downloaded(
    size: tuple[int, int], server: PageServer, work: Path, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page = open_page(server.address, size)
    begin(page, tmp_path / "photos", steps=60, sample_every=10)
    watch(page)
    stop_and_resume(page, work, 60)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    generate(page, work)
    download(page, work, tmp_path / "rex.safetensors")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_training_goes_on_where_the_server_is_killed_and_a_second_page_sees_it(
    server: PageServer, work: Path, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page = open_page(server.address, WIDE)
    begin(page, tmp_path / "photos", steps=60, sample_every=0)
    words(page, "teach-status", r"step\s*\d+ of 60")
    server.kill()
    before = len((work / "runs" / "rex" / "log.jsonl").read_text().splitlines())
    deadline = time.monotonic() + PATIENCE / 1000
    while len((work / "runs" / "rex" / "log.jsonl").read_text().splitlines()) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    server.start()
    second = open_page(server.address, WIDE)
    words(second, "teach-status", r"state\s*(runs|done)")
    words(second, "teach-status", r"state\s*done[\s\S]*60 of 60")
    assert (work / "runs" / "rex" / "rex.safetensors").is_file()
    assert atomtune(work, "sample", "--concept", "rex", "--prompt", "a <rex>", "--steps", "2").strip()


def test_the_page_is_used_with_the_keyboard_alone(
    server: PageServer, work: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(server.address, WIDE)
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement?.closest('[id^=teach-], [id^=train-]')?.id ?? ''"))
        if reached[-1] == "teach-start":
            break
    assert {"teach-name", "teach-noun", "train-steps", "teach-start"} <= set(reached)
    page.keyboard.press("Enter")
    assert "Error" in words(page, "teach-said", "Error")
    for field in page.locator("input:visible, textarea:visible").all():
        assert field.evaluate(
            "e => e.labels?.length || e.ariaLabel || e.getAttribute('aria-labelledby') || e.type === 'file'"
        ), field.evaluate("e => e.outerHTML")
