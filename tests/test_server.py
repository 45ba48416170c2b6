"""The server: the site at once, demos that fail alone, addresses that stay shut, an end when it is asked for."""

import gzip
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gradio_client import Client

from demos import _host
from demos._mount import find
from demos._notices import reason
from demos.app import prepared_site
from running import SERVE, Running, serving, variables, watched

pytestmark = pytest.mark.timeout(600)  # servers start slowly on a busy machine
TOYS = "import os; from pathlib import Path; from demos.app import serve; raise SystemExit(serve('127.0.0.1', int(os.environ['PORT']), Path({!r}), package='toy_demos'))"  # noqa: E501
API = "/demos/zh/echo/gradio_api/"
SHUT = [
    "upload", "run/echo", "api/echo", "call/v2/echo/x", "component_server", "process_recording", "vibe-edit",
    "stream/x", "proxy=http://example.com/", "file=/etc/passwd", "file/etc/passwd", "dev/reload", "runs", "deep_link",
    "openapi.json", "upload_progress", "queue/data", "heartbeat/a..b", "../monitoring", "../monitoring/summary",
    "../openapi.json", "../docs", "../login", "../nothing", "../gradio_api",
]  # fmt: skip
FILE = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
JOIN = {"data": [4], "fn_index": 0, "session_hash": "abc"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of a few files."""
    root = tmp_path_factory.mktemp("site")
    for name in ("index", "404", "zh/index", "zh/404", "en/index", "en/404"):
        path = root / f"{name}.html"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"<!doctype html><title>{name}</title>" + "<p>text</p>" * 200, "utf-8")
    (root / "main.1a2b3c4d.min.js").write_text("1", "utf-8")
    (root / ".built-from").write_text("secret", "utf-8")
    (root.parent / "outside.txt").write_text("secret", "utf-8")
    return root


@pytest.fixture(scope="module")
def toys(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with the toy demos, ready, that writes down whom it calls."""
    place = tmp_path_factory.mktemp("toys")
    environment, left = watched(place / "guard", variables())
    with serving(place / "log", [sys.executable, "-c", TOYS.format(str(folder))], environment) as running:
        running.wait()
        yield running
        assert not left.exists(), left.read_text("utf-8")


@pytest.fixture
def client(toys: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=toys.url, timeout=60) as client:
        yield client


def answer(client: httpx.Client, data: list[object]) -> str:
    """Return the stream of one call of the toy echo."""
    content = json.dumps({"data": data})
    response = client.post(f"{API}call/echo", content=content)
    assert response.status_code == 200, response.text
    return client.get(f"{API}call/echo/{response.json()['event_id']}").text


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_health_is_told(client: httpx.Client, path: str) -> None:
    told = client.get(path).json()
    assert told["status"] == "ok"
    assert told["demos"] == "ready"
    assert "/demos/zh/echo" in told["mounted"]
    assert "/demos/en/no_build" in told["broken"]


@pytest.mark.parametrize(
    ("path", "title"),
    [("/nothing", "404"), ("/zh/nothing/", "zh/404"), ("/en/nothing", "en/404"), ("/.built-from", "404"),
     ("/zh/../../outside.txt", "404"), ("/zh/..%2f..%2foutside.txt", "404"), ("/%2e%2e/outside.txt", "404"),
     ("/..%5coutside.txt", "404"), ("/en/%00", "en/404"), ("/" + "x" * 5000, "404")],
)  # fmt: skip
def test_what_is_not_there_gets_the_page_of_its_language(toys: Running, path: str, title: str) -> None:
    url = httpx.URL(toys.url).copy_with(raw_path=path.encode())
    response = httpx.get(url)
    assert response.status_code == 404
    assert f"<title>{title}</title>" in response.text
    assert "secret" not in response.text


def test_site_is_compressed_and_cached(client: httpx.Client) -> None:
    page = client.get("/zh/")
    assert page.headers["content-encoding"] == "gzip"
    assert page.headers["cache-control"] == "no-cache"
    assert client.get("/zh/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
    assert "immutable" in client.get("/main.1a2b3c4d.min.js").headers["cache-control"]
    assert client.post("/zh/").status_code == 405


@pytest.mark.parametrize("path", ["/", "/en/nothing", "/demos/zh/echo/", "/demos/zh/nothing/", "/healthz"])
def test_every_answer_carries_the_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
    assert "server" not in headers
    assert "x-frame-options" not in headers  # a Space shows us inside a frame on another host


@pytest.mark.parametrize(("lang", "tag"), [("zh", "zh-CN"), ("en", "en")])
def test_the_address_decides_the_language_of_gradio(client: httpx.Client, lang: str, tag: str) -> None:
    redirect = client.get(f"/demos/{lang}/echo?__theme=dark")
    assert redirect.status_code == 307
    assert redirect.headers["location"] == "echo/?__theme=dark"
    page = client.get(f"/demos/{lang}/echo/")
    assert re.search(rf'<html\s+lang="{tag}"', page.text)
    assert page.text.index(f'("{tag}")</script>') < page.text.index("<meta")
    assert not re.findall(r"https?://(?!127\.0\.0\.1)[^\"' ]+", page.text.split("window.gradio_config")[0])
    assert page.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_demo_answers_and_stops(toys: Running, lang: str) -> None:
    client = Client(f"{toys.url}/demos/{lang}/echo/", verbose=False)
    assert client.predict(4, api_name="/echo") == f"<p>{lang} 4</p>"
    job = client.submit(4, api_name="/stream")
    assert next(iter(job)) == "<p>0</p>"
    began = time.monotonic()
    job.cancel()
    while not job.done():
        assert time.monotonic() - began < 10
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("path", "words"),
    [("zh/no_import", "model.safetensors: cut short"), ("en/no_import", "model.safetensors: cut short"),
     ("en/no_build", "label"), ("zh/no_model", "download it again"), ("en/no_model", "download it again")],
)  # fmt: skip
def test_a_broken_demo_says_so_at_its_own_address(client: httpx.Client, path: str, words: str) -> None:
    response = client.get(f"/demos/{path}/")
    assert response.status_code == 503
    assert words in response.text
    assert "这个演示现在不能用" in response.text
    assert "This demo is not available" in response.text
    assert "Traceback" not in response.text
    assert "/srv/secret" not in response.text
    assert client.get("/demos/zh/no_build/").status_code == 200


@pytest.mark.parametrize(
    "path", ["/demos", "/demos/", "/demos/zh", "/demos/zh/nothing/", "/demos/fr/echo/", "/demos/zh//"]
)
def test_an_unknown_demo_is_not_found(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert "<html" in response.text


@pytest.mark.parametrize("path", SHUT)
def test_what_a_page_does_not_need_is_shut(toys: Running, path: str) -> None:
    url = httpx.URL(toys.url).copy_with(raw_path=f"{API}{path}".replace("gradio_api/../", "").encode())
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert httpx.request(method, url, timeout=20).status_code in (400, 404), method


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("queue/join", JOIN | {"fn_index": 99}, 404),
        ("queue/join", JOIN | {"fn_index": True}, 404),
        ("queue/join", JOIN | {"fn_index": "0"}, 404),
        ("queue/join", JOIN | {"session_hash": "x" * 100}, 400),
        ("queue/join", JOIN | {"session_hash": ["x"]}, 400),
        ("queue/join", JOIN | {"session_hash": None}, 400),
        ("queue/join", JOIN | {"data": "4"}, 400),
        ("queue/join", JOIN | {"data": []}, 400),
        ("queue/join", JOIN | {"data": [1, 2]}, 400),
        ("queue/join", JOIN | {"data": [FILE]}, 400),
        ("queue/join", JOIN | {"data": [[FILE]]}, 400),
        ("queue/join", JOIN | {"data": [[[FILE]]]}, 400),
        ("queue/join", b"[" * 50_000, 400),
        ("queue/join", b"[" * 100_000, 413),
        ("queue/join", b"\xff\xfe", 400),
        ("queue/join", b"", 400),
        ("queue/join", b'{"data": [' + b"1" * 5000 + b'], "fn_index": 0, "session_hash": "a"}', 400),
        ("call/nothing", {"data": [1]}, 404),
        ("call/echo", {}, 400),
        ("cancel", {}, 404),
        ("cancel", {"session_hash": "a", "fn_index": 99, "event_id": "b"}, 404),
    ],
)
def test_a_bad_request_is_refused_in_both_languages(
    client: httpx.Client, path: str, content: object, status: int
) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    response = client.post(API + path, content=body)
    assert response.status_code == status, response.text
    assert "detail" in response.json()


def test_a_long_body_is_cut_off_while_it_comes(client: httpx.Client) -> None:
    sent = []

    def pieces() -> Iterator[bytes]:
        for number in range(50):
            sent.append(number)
            yield b"x" * 20_000

    assert client.post(f"{API}call/echo", content=pieces()).status_code == 413


@pytest.mark.parametrize("value", [None, "x", True, float("nan"), float("inf"), -1e308, "\ud800", [1, "a"], "x" * 5000])
def test_any_value_reaches_the_demo_as_it_is(client: httpx.Client, value: object) -> None:
    assert "event: complete" in answer(client, [value])


def test_an_exception_keeps_its_secret(client: httpx.Client, toys: Running) -> None:
    told = answer(client, [13])
    assert "event: error" in told
    assert "hunter2" not in told
    assert "Traceback" not in told
    assert "event: complete" in answer(client, [4])


@pytest.mark.parametrize("path", ["call/echo/unknown", "queue/data?session_hash=unknown"])
def test_an_unknown_event_ends_in_one_line_of_log(client: httpx.Client, toys: Running, path: str) -> None:
    before = len(toys.log.read_bytes())
    response = client.get(API + path)
    assert "Traceback" not in response.text
    assert len(toys.log.read_bytes()) - before < 400


def test_only_a_trusted_proxy_may_name_the_address(client: httpx.Client) -> None:
    headers = {"x-forwarded-proto": "https", "x-forwarded-host": "evil.example"}
    assert "evil.example" not in client.get("/demos/en/echo/", headers=headers).text


def test_other_sites_may_not_read_the_answers(client: httpx.Client) -> None:
    response = client.get("/demos/en/echo/config", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in response.headers
    assert "access-control-allow-credentials" not in response.headers


def hold(url: str, opened: threading.Event) -> None:
    """Keep a page's endless stream open until the server cuts it."""
    try:
        with httpx.stream("GET", url, timeout=60) as stream:
            for _ in stream.iter_bytes():
                opened.set()
    except httpx.TransportError:
        pass


def test_sigterm_ends_it_with_pages_open(folder: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "log", [sys.executable, "-c", TOYS.format(str(folder))], variables()) as running:
        running.wait()
        event = httpx.post(f"{running.url}{API}call/stream", json={"data": [4]}, timeout=60).json()["event_id"]
        for path in ("heartbeat/abc", f"call/stream/{event}"):
            opened = threading.Event()
            threading.Thread(target=hold, args=(f"{running.url}{API}{path}", opened), daemon=True).start()
            assert opened.wait(60), path
        before, began = len(running.log.read_bytes()), time.monotonic()
        assert running.end() == 0, running.text()
        assert time.monotonic() - began < 12
        assert b"Traceback" not in running.log.read_bytes()[before:]


def test_the_site_is_there_before_the_demos_and_ctrl_c_ends_it(folder: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "log", [*SERVE, "--site", str(folder)], variables()) as running:
        assert running.wait("/zh/", 60).status_code == 200
        assert httpx.get(f"{running.url}/healthz").json()["demos"] == "loading"
        assert httpx.get(f"{running.url}/readyz").status_code == 503
        assert f"{running.url}/" in running.text()
        began = time.monotonic()
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0, running.text()
        assert time.monotonic() - began < 12


def test_a_taken_port_is_an_error(toys: Running, folder: Path, tmp_path: Path) -> None:
    with serving(
        tmp_path / "log", [*SERVE, "--site", str(folder), "--port", toys.url.rsplit(":", 1)[1]], variables()
    ) as it:
        assert it.process.wait(60) == 1
        assert "address already in use" in it.text()


def test_demos_are_found_by_walking() -> None:
    found = find("toy_demos")
    assert found["echo"] == "toy_demos.play.echo"
    assert not any(name.startswith("_") for name in found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cannot read /srv/a b/model.safetensors: cut", "model.safetensors"),
        (r"no C:\data\x.json", "x.json"),
        ("", "OSError"),
    ],
)
def test_a_reason_names_the_file_and_not_the_folder(text: str, told: str) -> None:
    words = reason(OSError(text))
    assert told in words
    assert "/srv" not in words
    assert "data" not in words


class Builder:
    """Stands in for demos._build."""

    def __init__(self, stale: bool, works: bool = True) -> None:
        self.stale, self.works, self.built = stale, works, list[Path]()

    def is_stale(self, out: Path) -> bool:
        return self.stale

    def build(self, out: Path, *, demo_host: str = "", site_url: str = "") -> None:
        self.built.append(out)
        if not self.works:
            raise RuntimeError("a page is missing")


@pytest.mark.parametrize(
    ("there", "stale", "works", "may_write", "expected"),
    [(True, False, True, True, "kept"), (True, True, True, True, "rebuilt"), (False, True, True, True, "rebuilt"),
     (True, True, False, True, "kept"), (True, True, True, False, "elsewhere"), (False, True, False, True, "fails")],
)  # fmt: skip
def test_the_site_is_built_when_missing_or_stale(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    there: bool,
    stale: bool,
    works: bool,
    may_write: bool,
    expected: str,
) -> None:
    out, builder = tmp_path / "site", Builder(stale, works)
    if there:
        out.mkdir()
        (out / "index.html").write_text("old", "utf-8")
    monkeypatch.setenv("LARGEMODELS_SITE", str(out))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("importlib.import_module", lambda name: builder)
    monkeypatch.setattr(_host, "writable", lambda folder: may_write)
    if expected == "fails":
        with pytest.raises(RuntimeError, match="a page is missing"):
            prepared_site()
        return
    served = prepared_site()
    assert (served == out) == (expected != "elsewhere")
    assert builder.built == {"kept": [out] if stale else [], "rebuilt": [out], "elsewhere": [served]}[expected]


def test_compressed_pages_are_whole(client: httpx.Client) -> None:
    with client.stream("GET", "/demos/en/echo/", headers={"accept-encoding": "gzip"}) as response:
        raw = b"".join(response.iter_raw())
    assert gzip.decompress(raw).rstrip().endswith(b"</html>")
