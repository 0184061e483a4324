"""Who may ask the server, and what it gives away, over HTTP."""

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atomtune.errors import UsageError
from atomtune.runtime.options import OptionError
from atomtune.ui.options import UiOptions, is_loopback

pytest.importorskip("gradio", reason="needs the extra ui")
httpx = pytest.importorskip("httpx")
from fastapi.testclient import TestClient  # noqa: E402

from atomtune.ui.server import application  # noqa: E402

SERVER = "http://127.0.0.1:7860"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Makes clients of a page with these options."""
    opened: list[Any] = []
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # set by the page; given back after the test

    def make(**options: Any) -> Any:
        made = TestClient(application(UiOptions(model="pocket", **options)), base_url=SERVER, follow_redirects=False)
        opened.append(made.__enter__())
        return opened[-1]

    yield make
    for each in opened:
        each.__exit__(None, None, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "example.org", "::"])
def test_an_address_that_others_reach_needs_a_password_or_a_token(host: str) -> None:
    with pytest.raises(OptionError, match="needs --auth USER:PASSWORD or --token"):
        UiOptions(host=host)
    assert UiOptions(host=host, auth="anna:secret").host == host
    assert UiOptions(host=host, token="a-long-secret").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_alone_needs_none(host: str) -> None:
    assert UiOptions(host=host).host == host
    assert is_loopback(host)


@pytest.mark.parametrize(
    "wrong", [{"auth": "anna"}, {"auth": ":x"}, {"token": "short"}, {"auth": "a:b", "token": "12345678"}]
)
def test_passwords_and_tokens_that_are_none_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        UiOptions(**wrong)


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_with_a_password_everything_asks_for_it(client: Callable[..., Any]) -> None:
    page = client(auth="anna:secret")
    for path in ("/", "/config", "/gradio_api/info", "/report/x", "/gradio_api/file=/etc/passwd", "/theme.css"):
        answer = page.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith("Basic")
    assert page.post("/gradio_api/upload", files={"files": b"x"}).status_code == 401
    for wrong in ("anna:wrong", "bob:secret", "anna", ""):
        assert page.get("/", headers=basic(wrong)).status_code == 401
    assert page.get("/", headers={"authorization": "Basic %%%"}).status_code == 401
    assert page.get("/", headers=basic("anna:secret")).status_code == 200


def test_with_a_token_the_address_carries_it_once(client: Callable[..., Any]) -> None:
    page = client(token="a-long-secret")
    assert page.get("/").status_code == 401
    assert page.get("/?token=another-secret").status_code == 401
    assert page.get("/", headers={"authorization": "Bearer a-long-secret"}).status_code == 200
    first = page.get("/?token=a-long-secret")
    assert first.status_code == 303
    assert first.headers["location"] == "/"
    assert "HttpOnly" in first.headers["set-cookie"]
    assert page.get("/").status_code == 200  # with the cookie


def test_other_names_and_other_sites_are_refused(client: Callable[..., Any]) -> None:
    page = client()
    assert page.get("/").status_code == 200
    assert page.get("/", headers={"host": "evil.example:7860"}).status_code == 403
    assert page.get("/", headers={"host": ""}).status_code == 403
    assert page.post("/gradio_api/upload", headers={"origin": "http://evil.example"}).status_code == 403
    assert page.get("/", headers={"origin": SERVER}).status_code == 200


def test_a_body_that_is_too_long_is_refused(client: Callable[..., Any]) -> None:
    answer = client().post("/gradio_api/upload", headers={"content-length": str(10**12)}, content=b"")
    assert answer.status_code == 413


def test_nothing_of_the_disk_can_be_read_through_the_page(client: Callable[..., Any], tmp_path: Path) -> None:
    page = client()
    work = Path.cwd()
    secrets = [tmp_path / "secret.txt", work / "secret.txt", work / "runs" / "mug" / "run.json", work / ".env"]
    secrets += [work / "concepts" / "mug" / "01.png", work / "runs" / ".jobs" / "000001" / "stderr"]
    for file in secrets:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("secret")
    (work / "runs" / ".page" / "link.txt").symlink_to(secrets[0])
    paths = [str(file) for file in (*secrets, Path("/etc/passwd"), work / "runs" / ".page" / "link.txt")]
    paths += [f"{work}/runs/.page/../mug/run.json", "secret.txt", "../secret.txt", "file:///etc/passwd", "//etc/passwd"]
    paths += ["..%2f..%2fsecret.txt", "%2fetc%2fpasswd"]
    for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/gradio_api/stream/", "/report/"):
        for path in paths:
            answer = page.get(route + path)
            assert answer.status_code >= 300, route + path
            assert b"secret" not in answer.content.replace(b"secret.txt", b"")
            assert b"root:" not in answer.content


def test_a_file_that_was_not_uploaded_cannot_be_named_in_a_request(client: Callable[..., Any]) -> None:
    page = client()
    Path("secret.png").write_text("secret")
    for path in (str(Path.cwd() / "secret.png"), "/etc/passwd"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "01.png"}
        asked = page.post("/gradio_api/call/upload", json={"data": ["mug", [file]]})
        if asked.status_code == 200:
            said = page.get(f"/gradio_api/call/upload/{asked.json()['event_id']}").text
            assert "event: error" in said
    assert not Path("concepts").exists()


def test_an_uploaded_name_that_leaves_its_folder_stays_in_it(client: Callable[..., Any]) -> None:
    page = client()
    answer = page.post("/gradio_api/upload", files={"files": ("../../../evil.png", b"x")})
    work = Path.cwd()
    assert not list(work.parent.glob("evil*"))
    assert not list(work.glob("evil*"))
    if answer.status_code == 200:
        (stored,) = answer.json()
        assert Path(stored).resolve().is_relative_to(work / "runs" / ".page")


def test_reports_come_from_runs_alone_and_can_do_nothing(client: Callable[..., Any]) -> None:
    page = client()
    report = Path("runs/mug/evaluation/report.html")
    report.parent.mkdir(parents=True)
    report.write_text("<script>1</script>")
    answer = page.get("/report/mug/evaluation/report.html")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    Path("outside.html").write_text("x")
    Path("runs/other.html").symlink_to(Path.cwd() / "outside.html")
    Path("runs/link/evaluation").mkdir(parents=True)
    Path("runs/link/evaluation/report.html").symlink_to(Path.cwd() / "outside.html")
    for place in ("../outside.html", "other.html", "link/evaluation/report.html", "mug/run.json", "/etc/passwd"):
        assert page.get(f"/report/{place}").status_code == 404


def test_the_page_asks_no_other_site_for_anything(client: Callable[..., Any]) -> None:
    answer = client().get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy.replace("https:", "http:").replace("'self'", "")
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    for tag in ('<script src="http', 'href="https://fonts', "googleapis"):
        assert tag not in answer.text
