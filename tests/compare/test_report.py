"""The page of a comparison: whole without a network or scripts, and sorted with them."""

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from atomtune.compare.report import FIGURES_FILE, PAGE, RUNS, TABLE, thumbnail
from atomtune.report.charts import Cloud, cloud_chart

from .conftest import Compared

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def page(compared: Compared) -> str:
    return (compared.options.output / PAGE).read_text(encoding="utf-8")


def test_the_page_asks_for_nothing(page: str) -> None:
    addresses = re.findall(r"""(?:src|href)=["']([^"']*)""", page) + re.findall(r"url\(([^)]*)", page)
    # the concept's four images; two prompts by the base model and two variants
    assert len(addresses) == 4 + 2 * 3
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert not re.search(r"https?:", page.replace("http://www.w3.org/2000/svg", ""))
    assert page.count("<script>") == 1


def test_what_is_shown_to_others_holds_no_absolute_path(compared: Compared) -> None:
    output = compared.options.output
    temporary = output.parents[2]  # of all folders that the tests have
    names = {str(temporary), str(Path.home()) + "/"}
    for name in (PAGE, TABLE, FIGURES_FILE):
        text = (output / name).read_text(encoding="utf-8")
        assert not [name for name in names if name in text], name


def test_the_page_shows_everything(page: str, compared: Compared) -> None:
    concept = compared.options.subjects[0].concept.words
    for words in ("atoms:c1", "bitfit", "base model", "real images", concept, "in the snow", "Vendi", "± "):
        assert words in page, words
    assert page.count("<svg") == 2
    line = compared.figures["variants"][0]
    assert f"{line['parameters']:,}" in page
    assert f"{line['fidelity']['mean']:.3f} ± {line['fidelity']['spread']:.3f}" in page
    assert str(line["fidelity"]["mean"]) in page, "what it is sorted by"


def test_the_charts_have_a_point_a_run(page: str, compared: Compared) -> None:
    for chart in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        tree = ElementTree.fromstring(chart)
        space = "{http://www.w3.org/2000/svg}"
        circles = list(tree.iter(f"{space}circle"))
        assert len(circles) == len(compared.result.runs) + 2
        assert {text.text for text in tree.iter(f"{space}text")} >= {"atoms:c1", "bitfit", "base model", "fidelity"}


def test_the_files_agree(compared: Compared) -> None:
    output = compared.options.output
    assert json.loads((output / FIGURES_FILE).read_text(encoding="utf-8")) == compared.figures
    rows = list(csv.DictReader((output / TABLE).open(encoding="utf-8")))
    assert [row["variant"] for row in rows] == ["atoms:c1", "bitfit"]
    runs = list(csv.DictReader((output / RUNS).open(encoding="utf-8")))
    for row in rows:
        mine = [float(run["fidelity"]) for run in runs if run["variant"] == row["variant"]]
        assert len(mine) == 2
        assert sum(mine) / 2 == pytest.approx(float(row["fidelity"]))
        assert abs(mine[0] - mine[1]) / 2**0.5 == pytest.approx(float(row["fidelity_spread"]))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_click_on_a_head_sorts(page: str, tmp_path: Path) -> None:
    click = "<script>document.querySelectorAll('table.sortable th button')[%d].click()</script></body>"

    def after(clicks: list[int]) -> list[str]:
        changed = page.replace("</body>", "".join(click % head for head in clicks).replace("</body>", "") + "</body>")
        (tmp_path / "page.html").write_text(changed, encoding="utf-8")
        done = subprocess.run(
            [
                *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"),
                *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
                *(f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "page.html").as_uri()),
            ],
            check=True,
            capture_output=True,
            timeout=120,
            text=True,
        )
        table = done.stdout.split('class="rows"')[1].split("</tbody>")[0]
        return re.findall(r'data-value="(atoms:c1|bitfit)"', table)

    assert after([]) == ["atoms:c1", "bitfit"]
    assert after([0, 0]) == ["bitfit", "atoms:c1"], "by name, downwards the second time"


def test_labels_keep_out_of_each_others_way() -> None:
    clouds = [Cloud(f"variant {i}", (0.5 + 0.001 * i, 0.5)) for i in range(6)] + [Cloud("far", (0.9, 0.9))]
    tree = ElementTree.fromstring(cloud_chart(clouds, "x", "y"))
    placed = []
    for text in tree.iter("{http://www.w3.org/2000/svg}text"):
        if (text.text or "").startswith("variant"):
            width = 5.8 * len(text.text or "")
            left = float(text.attrib["x"]) - {"end": width, "middle": width / 2}.get(text.get("text-anchor", ""), 0.0)
            placed.append((left, left + width, float(text.attrib["y"])))
    assert len(placed) == 6
    for i, (left, right, y) in enumerate(placed):
        for other_left, other_right, other_y in placed[:i]:
            assert abs(y - other_y) >= 9 or right <= other_left or other_right <= left


def test_texts_in_a_chart_are_escaped() -> None:
    chart = cloud_chart([Cloud("<b>&", (0.1, 0.2), [(0.1, 0.2, "<i>")])], "x", "y", [("<u>", 0.3)])
    assert not {"<b>", "<i>", "<u>"} & set(re.findall(r"<[biu]>", chart))
    ElementTree.fromstring(chart)


def test_thumbnails_are_small(compared: Compared) -> None:
    image = compared.result.runs[0].score.images[0].load().resize((512, 256))
    assert len(thumbnail(image)) < 30_000
