"""Uploads: decoded as photos are, kept in the working folder, none replaced."""

from pathlib import Path

import pytest
from PIL import Image

from atomtune.errors import UsageError
from atomtune.ui import uploads


def photo(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    """A small image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize(size).convert("RGB").save(path)
    return path


def test_images_are_kept_under_their_names_and_none_is_replaced(tmp_path: Path) -> None:
    first, second = photo(tmp_path / "a" / "01.png"), photo(tmp_path / "b" / "01.png", (50, 50))
    assert uploads.take([first, second], "mug").kept == ("01.png", "01-2.png")
    folder = Path("concepts/mug")
    assert (folder / "01.png").read_bytes() == first.read_bytes()
    assert (folder / "01-2.png").read_bytes() == second.read_bytes()


def test_what_is_no_image_is_refused_with_a_reason(tmp_path: Path) -> None:
    text = tmp_path / "a.png"
    text.write_text("no image")
    program = tmp_path / "run.sh"
    program.write_text("echo")
    link = tmp_path / "link.png"
    link.symlink_to("/etc/passwd")
    cut = tmp_path / "cut.png"
    cut.write_bytes(photo(tmp_path / "whole.png", (300, 300)).read_bytes()[:200])
    taken = uploads.take([text, program, link, cut], "mug")
    assert taken.kept == ()
    assert [reason.split(":")[0] for reason in taken.refused] == ["a.png", "run.sh", "link.png", "cut.png"]
    assert not Path("concepts/mug").exists()


def test_more_pixels_than_are_safe_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    taken = uploads.take([photo(tmp_path / "bomb.png", (100, 100))], "mug")
    assert taken.refused == ("bomb.png: more pixels than are safe",)


@pytest.mark.parametrize("name", ["../mug", "a/b", "/tmp/x", "..", "", "a\\b", ".hidden"])
def test_a_concept_whose_name_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        uploads.take([photo(tmp_path / "01.png")], name)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ("C:\\photos\\me.jpg", "me.jpg"),
        (".htaccess", "htaccess"),
        ("a\0b\n.png", "a_b_.png"),
        ("猫 1.jpg", "猫 1.jpg"),
        ("....png", "png"),
    ],
)
def test_names_lose_their_folders_and_what_is_odd(text: str, safe: str) -> None:
    assert uploads.safe_name(text) == safe


@pytest.mark.parametrize("image", ["../other/01.png", "/etc/passwd", "01.png/../../x", ".atomtune-files", ""])
def test_captions_and_deletions_stay_in_the_folder_of_the_concept(image: str, tmp_path: Path) -> None:
    uploads.take([photo(tmp_path / "01.png")], "mug")
    photo(Path("concepts/other/01.png"))
    with pytest.raises(UsageError, match="there is no image"):
        uploads.write_caption("mug", image, "x")
    with pytest.raises(UsageError, match="there is no image"):
        uploads.remove_image("mug", image)
    assert Path("concepts/other/01.png").is_file()


def test_a_caption_is_written_beside_its_image_and_an_empty_one_is_none(tmp_path: Path) -> None:
    uploads.take([photo(tmp_path / "01.png")], "mug")
    uploads.write_caption("mug", "01.png", "  a <mug>\n\n on a table ")
    assert Path("concepts/mug/01.txt").read_text() == "a <mug>\non a table\n"
    uploads.write_caption("mug", "01.png", "")
    assert Path("concepts/mug/01.txt").read_text() == ""


def test_only_images_that_came_through_the_page_are_deleted(tmp_path: Path) -> None:
    uploads.take([photo(tmp_path / "01.png"), photo(tmp_path / "02.png")], "mug")
    photo(Path("concepts/mug/own.png"))
    uploads.remove_image("mug", "01.png")
    with pytest.raises(UsageError, match="did not come through this page"):
        uploads.remove_image("mug", "own.png")
    assert sorted(path.name for path in Path("concepts/mug").glob("*.png")) == ["02.png", "own.png"]


def test_things_of_pocket_are_rendered_where_the_folder_is_empty() -> None:
    assert len(uploads.render_thing("dog", 7, "rex")) == 5
    with pytest.raises(UsageError, match="not empty"):
        uploads.render_thing("dog", 7, "rex")
