"""An adapter is fetched from a hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import atomtune
from atomtune.api.sources import find_file
from hub_server import Hub
from made import made_atoms

FIND = """
import sys
import atomtune
from atomtune.api.sources import find_file
try:
    print(find_file(*sys.argv[1:]).name)
except atomtune.AtomtuneError as problem:
    print(f"{problem.message} / {problem.hint}")
"""


@pytest.fixture
def hub(tiny_model: Path, tmp_path: Path) -> Iterator[Hub]:
    """A repository with one adapter under a name of its own, and a text."""
    made_atoms(tmp_path / "repository" / "mug.safetensors", tiny_model)
    (tmp_path / "repository" / "README.md").write_text("# mug", encoding="utf-8")
    hub = Hub(tmp_path / "repository", "org/mug")
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.mark.slow
def test_the_only_adapter_of_a_repository_is_fetched_once(hub: Hub, tmp_path: Path) -> None:
    assert hub.run(FIND, tmp_path / "home", "org/mug") == "mug.safetensors"
    assert hub.asked == ["mug.safetensors"]
    assert hub.run(FIND, tmp_path / "home", "org/mug@main:mug.safetensors") == "mug.safetensors"
    assert hub.asked == []
    answer = hub.run(FIND, tmp_path / "home", "org/mug:cup.safetensors")
    assert answer.startswith("org/mug has no file cup.safetensors / ")
    answer = hub.run(FIND, tmp_path / "home", "org/cup")
    assert answer.startswith("the hub has no model org/cup that you may read / a file, the folder of a run"), answer
    (hub.folder / "mug.safetensors").rename(hub.folder / "mug.ckpt")
    answer = hub.run(FIND, tmp_path / "home", "org/mug")
    assert answer.startswith("org/mug on the hub holds no mug.safetensors"), answer


@pytest.mark.parametrize("source", ["org/mug", "org/mug@main", "org/mug:mug.safetensors", "org/mug@main:a.safetensors"])
def test_a_hub_that_cannot_be_reached_is_asked_once(source: str, unreachable_hub: list[str]) -> None:
    with pytest.raises(atomtune.AtomtuneError, match=r"org/mug(@main)?: .* could not be reached \(Name or service not"):
        find_file(source)
    assert unreachable_hub == ["org/mug"]
