"""Fetching the data set: from mirrors that break, lie or hang, and out of Debian's package."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fmnist_sweep import data
from fmnist_sweep.data import Catalogue, KnownFiles
from fmnist_sweep.errors import DataError, UsageError
from fmnist_sweep.fetch import FetchPlan
from tests.image_files import fill, look, one_line

pytestmark = pytest.mark.usefixtures("own_network")


@dataclass
class Mirror:
    """What a test server does, and what it was asked."""

    folder: Path
    ranges: bool = True
    damage: bool = False
    status: int = 200
    cut: int | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.asked.append((handler.path, wanted))
        if self.status != 200:
            handler.send_error(self.status)
            return
        body = (self.folder / handler.path.rpartition("/")[2]).read_bytes()
        body = bytes(len(body)) if self.damage else body
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start >= len(body):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start:][: self.cut])


@pytest.fixture
def served() -> Iterator[Callable[[Mirror], Mirror]]:
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(mirror: Mirror) -> Mirror:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        mirror.url = f"http://127.0.0.1:{server.server_port}/"
        return mirror

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def closed_port() -> Iterator[str]:
    """An address that refuses; the socket is bound but doesn't listen, so nobody else takes the port."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}/"


def test_fetching_fills_the_cache_once(
    tmp_path: Path, origin: Path, tiny: Catalogue, served: Callable[[Mirror], Mirror]
) -> None:
    mirror = served(Mirror(origin))
    plan = FetchPlan(mirrors=(mirror.url,))
    for _ in range(2):
        assert look(tmp_path, tiny, plan).origin == "cache"
    assert len(mirror.asked) == 4
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix == ".part"]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("left", ["half", "all", "rubbish", "too much"])
def test_a_broken_off_download_goes_on(
    tmp_path: Path, origin: Path, tiny: Catalogue, served: Callable[[Mirror], Mirror], left: str, ranges: bool
) -> None:
    mirror = served(Mirror(origin, ranges=ranges))
    name = tiny.train_images.name
    whole = (origin / name).read_bytes()
    half = len(whole) // 2
    leftover = {"half": whole[:half], "all": whole, "rubbish": bytes(half), "too much": whole * 2}[left]
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{name}.part").write_bytes(leftover)
    look(tmp_path, tiny, FetchPlan(mirrors=(mirror.url,)))
    asked = [wanted for path, wanted in mirror.asked if path == f"/{name}"]
    assert asked[0] == f"bytes={len(leftover)}-"
    assert len(asked) == (2 if ranges and left in ("rubbish", "too much") else 1)


def test_a_connection_that_breaks_is_taken_up_again(
    tmp_path: Path, origin: Path, tiny: Catalogue, served: Callable[[Mirror], Mirror]
) -> None:
    size = (origin / tiny.train_images.name).stat().st_size
    mirror = served(Mirror(origin, cut=size // 2 + 1))
    look(tmp_path, tiny, FetchPlan(mirrors=(mirror.url,)))
    assert [wanted for path, wanted in mirror.asked if "train-images" in path] == [None, f"bytes={size // 2 + 1}-"]


def test_bad_mirrors_are_passed_over(
    tmp_path: Path, origin: Path, tiny: Catalogue, served: Callable[[Mirror], Mirror]
) -> None:
    damaged, broken, good = (
        served(mirror) for mirror in (Mirror(origin, damage=True), Mirror(origin, status=503), Mirror(origin))
    )
    said: list[str] = []
    with closed_port() as refusing:
        plan = FetchPlan(mirrors=(refusing, damaged.url, broken.url, good.url))
        data.find(None, cache=tmp_path / "c", system=tmp_path / "s", say=said.append, catalogue=tiny, plan=plan)
    text = "\n".join(said)
    assert "connection refused" in text
    assert f"expected {tiny.train_images.md5}" in text
    assert "HTTP 503" in text
    assert all(wanted is None for _, wanted in good.asked)


def test_the_environment_names_a_mirror_that_goes_first(
    tmp_path: Path,
    origin: Path,
    tiny: Catalogue,
    served: Callable[[Mirror], Mirror],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, other = served(Mirror(origin)), served(Mirror(origin))
    monkeypatch.setenv("FMNIST_MIRROR", own.url + "some/folder")
    look(tmp_path, tiny, FetchPlan(mirrors=(other.url,)))
    assert own.asked[0][0] == f"/some/folder/{tiny.train_images.name}"
    assert not other.asked


def test_a_mirror_that_is_no_address_is_the_users_mistake_and_its_password_stays_hidden(
    tmp_path: Path, tiny: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMNIST_MIRROR", "ftp://me:canary@host/")
    with pytest.raises(UsageError, match="FMNIST_MIRROR") as caught:
        look(tmp_path, tiny)
    assert "canary" not in str(caught.value)


def test_nothing_reachable_says_what_was_tried(
    tmp_path: Path, tiny: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_port() as refusing:
        monkeypatch.setenv("FMNIST_MIRROR", refusing.replace("//", "//me:canary@"))
        with pytest.raises(DataError) as caught:
            look(tmp_path, tiny)
    text = one_line(caught)
    assert "connection refused" in text
    assert "--data-dir DIR" in text
    assert "FMNIST_DATA_DIR" in text
    assert "canary" not in text


def test_a_server_that_trickles_meets_the_deadline(tmp_path: Path, tiny: Catalogue) -> None:
    stop = threading.Event()

    def trickle(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer, suppress(OSError):  # whoever asked has gone
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
            while not stop.wait(0.05):
                peer.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        plan = FetchPlan(mirrors=(f"http://127.0.0.1:{listener.getsockname()[1]}",), file_seconds=0.5)
        with pytest.raises(DataError, match=r"took longer than 0\.5 s"):
            look(tmp_path, tiny, plan)
        stop.set()
        thread.join()


def test_a_damaged_file_of_the_cache_is_fetched_again(
    tmp_path: Path, origin: Path, tiny: Catalogue, served: Callable[[Mirror], Mirror]
) -> None:
    mirror = served(Mirror(origin))
    fill(tmp_path / "cache")
    (tmp_path / "cache" / tiny.train_labels.name).write_bytes(b"damaged")
    look(tmp_path, tiny, FetchPlan(mirrors=(mirror.url,)))
    assert [path for path, _ in mirror.asked] == [f"/{tiny.train_labels.name}"]


def test_two_at_once_fetch_once(
    tmp_path: Path, origin: Path, tiny: Catalogue, served: Callable[[Mirror], Mirror]
) -> None:
    mirror = served(Mirror(origin))
    plan = FetchPlan(mirrors=(mirror.url,))
    threads = [threading.Thread(target=look, args=(tmp_path, tiny, plan)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(mirror.asked) == 4


def test_a_cache_that_cannot_be_written(tmp_path: Path, tiny: Catalogue) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="cache"):
        look(tmp_path, tiny)


# Debian's package, with programs that stand in for apt-get and dpkg-deb


@pytest.fixture
def tools(tmp_path: Path, origin: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    unpack = f'mkdir -p "$3/usr/share/x" && cp {origin}/*.gz "$3/usr/share/x"'

    def write(apt: str) -> None:
        for name, script in (("apt-get", apt), ("dpkg-deb", unpack)):
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(stat.S_IRWXU)

    return write


def from_package(tmp_path: Path, tiny: Catalogue, *, seconds: float = 30) -> KnownFiles:
    return look(tmp_path, tiny, FetchPlan(mirrors=(), package="some-set", apt_seconds=seconds))


def test_the_package_fills_the_cache(tmp_path: Path, tiny: Catalogue, tools: Callable[[str], None]) -> None:
    tools('echo "W: unsandboxed" >&2; touch "$2.deb"')
    assert from_package(tmp_path, tiny).origin == "cache"
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {".lock", *(facts.name for facts in tiny.files)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may update apt's lists")
def test_root_updates_apts_lists_once(tmp_path: Path, tiny: Catalogue, tools: Callable[[str], None]) -> None:
    lists = tmp_path / "lists"
    tools(
        f'if [ "$1" = update ]; then echo x >> {lists}; exit; fi\n'
        f'[ -e {lists} ] && touch "$2.deb" && exit\necho "E: Unable to locate package $2"; exit 100'
    )
    from_package(tmp_path, tiny)
    assert lists.read_text() == "x\n"


def test_a_package_that_fails_or_hangs_is_said(tmp_path: Path, tiny: Catalogue, tools: Callable[[str], None]) -> None:
    tools('echo "W: first"; echo "E: the archive is on fire" >&2; exit 100')
    with pytest.raises(DataError, match="some-set: the archive is on fire"):
        from_package(tmp_path, tiny)
    tools("sleep 60 & sleep 60")
    with pytest.raises(DataError, match="apt-get took too long"):
        from_package(tmp_path, tiny, seconds=0.3)


def test_without_apt(tmp_path: Path, tiny: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="there is no apt-get"):
        from_package(tmp_path, tiny)
