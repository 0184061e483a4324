"""The server gives the images of `sample`, keeps its limits, and lets in whom it should."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomtune.errors import UsageError
from atomtune.sampling.options import SampleOptions, Settings
from atomtune.sampling.sample import sample
from atomtune.serve.access import read_tokens
from atomtune.serve.options import ServeOptions

TOKEN = "a-token-of-some-length"
CASTLE = {"prompt": "a <castle> in the snow", "concepts": [{"name": "castle"}], "seed": 5, "steps": 2}


def sampled(runs: Path, model: Path, output: Path, **changes: Any) -> bytes:
    """The file that `sample` writes for the request above."""
    said: dict[str, Any] = {
        "atoms": ((runs / "castle" / "atoms.safetensors", 1.0),),
        "prompts": ("a <castle> in the snow",),
        "model": str(model),
        "seed": 5,
        "settings": Settings(steps=2),
        "device": "cpu",
    }
    images, _ = sample(SampleOptions(**said | changes), output)
    return images[0].path.read_bytes()


def test_an_image_is_the_file_that_sample_writes(
    serving: Callable[..., Any], runs: Path, tiny_model: Path, tmp_path: Path
) -> None:
    server = serving()
    expected = sampled(runs, tiny_model, tmp_path / "one")
    base = sampled(runs, tiny_model, tmp_path / "base", atoms=(), prompts=("a castle",))
    both = ((runs / "rex.safetensors", 0.5), (runs / "castle" / "atoms.safetensors", 1.0))
    mixed = sampled(runs, tiny_model, tmp_path / "both", atoms=both, prompts=("<rex> at a <castle>",))
    # one after the other on the same weights: what one leaves behind would show in the next
    for _ in range(2):
        assert server.call("/v1/images", CASTLE).body == expected
        assert server.call("/v1/images", {"prompt": "a castle", "seed": 5, "steps": 2}).body == base
        concepts = [{"name": "rex", "scale": 0.5}, {"name": "castle"}]
        asked = CASTLE | {"prompt": "<rex> at a <castle>", "concepts": concepts}
        assert server.call("/v1/images", asked).body == mixed
    assert expected != base != mixed


def test_weights_are_kept_within_the_bound(serving: Callable[..., Any]) -> None:
    server = serving()
    cache = server.engine.cache
    first = server.call("/v1/images", CASTLE).body
    cache.most = cache.bytes  # place for one
    server.call("/v1/images", {"prompt": "<rex>", "concepts": [{"name": "rex"}], "steps": 1})
    assert (len(cache), cache.figures.evicted) == (1, 1)
    assert cache.bytes <= cache.most
    cache.most = 0
    assert server.call("/v1/images", CASTLE).body == first
    assert (cache.figures.hits, cache.figures.misses) == (0, 3)


def test_many_clients_get_their_own_images(serving: Callable[..., Any]) -> None:
    server = serving(batch_size=1)
    asked = [CASTLE | {"seed": seed} for seed in range(3)] + [{"prompt": "<rex>", "concepts": [{"name": "rex"}]}]
    asked[-1]["steps"] = 2
    alone = [server.call("/v1/images", body).body for body in asked]
    answers: dict[int, bytes] = {}

    def ask(number: int) -> None:
        answers[number] = server.call("/v1/images", asked[number % 4]).body

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answers[number] == alone[number % 4] for number in range(12))


def test_requests_over_the_limits_are_refused(serving: Callable[..., Any]) -> None:
    server = serving(max_steps=3, max_side=16, max_concepts=1)
    two = [{"name": "castle"}, {"name": "rex"}]
    for change, said in (
        ({"steps": 4}, "steps must be at most 3"),
        ({"width": 24, "height": 16}, "at most 16 pixels"),
        ({"width": 16}, "width and height go together"),
        ({"concepts": two}, "at most 1 concept, not 2"),
        ({"concepts": [{"name": "../castle"}]}, "cannot be the name"),
        ({"concepts": [{"name": "nobody"}]}, "no concept nobody"),
        ({"prompt": "a <horse>"}, "<horse>"),
    ):
        answer = server.call("/v1/images", CASTLE | change)
        assert answer.status == 422, change
        assert said in answer.data["detail"]
    assert server.call("/v1/images", CASTLE | {"step": 3}).status == 422
    assert server.call("/v1/images", b"{" + b" " * 70_000 + b"}").status == 413
    assert server.call("/v1/images", CASTLE, {"Host": "evil.example"}).status == 400


def test_a_full_queue_refuses_and_a_request_without_an_answer_times_out(serving: Callable[..., Any]) -> None:
    server = serving(queue=1, timeout=2.0)
    held = threading.Event()
    own = server.engine._images
    server.engine._images = lambda wanted: (held.wait(), own(wanted))[1]
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(server.call("/v1/images", CASTLE).status)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held.set()
    # one was being generated, one waited, for as long as they may; the others were told at once
    assert sorted(answers) == [429] * 4 + [504] * 2
    assert server.call("/v1/images", CASTLE).status == 200


def test_tokens_are_asked_for(serving: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"# ours\n{TOKEN}\n")
    server = serving(token_file=tmp_path / "tokens")
    for path, body in (("/v1/images", CASTLE), ("/v1/concepts", None), ("/metrics", None)):
        assert server.call(path, body).status == 401
        assert server.call(path, body, {"Authorization": "Bearer another-token-of-it"}).status == 401
        assert server.call(path, body, {"Authorization": f"Bearer {TOKEN}"}).status == 200
    assert server.call("/health").status == 200


def test_what_others_reach_needs_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"0\.0\.0\.0 can be reached"):
        read_tokens(ServeOptions(host="0.0.0.0"))
    monkeypatch.setenv("ATOMTUNE_TOKEN", "short")
    with pytest.raises(UsageError, match="16 ASCII characters"):
        read_tokens(ServeOptions())
    monkeypatch.setenv("ATOMTUNE_TOKEN", TOKEN)
    assert len(read_tokens(ServeOptions(host="0.0.0.0"))) == 1
    (tmp_path / "tokens").write_text("# none\n")
    with pytest.raises(UsageError, match="holds no tokens"):
        read_tokens(ServeOptions(token_file=tmp_path / "tokens"))


def test_it_tells_of_itself(serving: Callable[..., Any]) -> None:
    server = serving()
    answer = server.call("/v1/images", {"prompt": "a snow", "concepts": [{"name": "castle"}], "steps": 1})
    assert "does not name 'sks castle'" in answer.headers["x-atomtune-warnings"]
    assert server.call("/v1/concepts").data == {"concepts": ["castle", "rex"]}
    figures = server.call("/metrics").body.decode()
    assert 'atomtune_requests_total{status="200"} 1.0' in figures
    assert "atomtune_cache_misses 1.0" in figures
    described = server.call("/openapi.json").data
    assert "image/png" in described["paths"]["/v1/images"]["post"]["responses"]["200"]["content"]
    server.engine.close()
    assert server.call("/health").status == 503
