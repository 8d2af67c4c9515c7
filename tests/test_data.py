"""The data set: found, fetched, checked, split. A tiny set with its own sums stands in for the real one."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from fmnist_sweep import data
from fmnist_sweep.data import Catalogue, DataSource
from fmnist_sweep.errors import DataError, UsageError
from fmnist_sweep.fetch import FetchPlan, FileFacts, Version

NOWHERE = FetchPlan(mirrors=())


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim])
    return head + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.astype(np.uint8).tobytes()


def fill(folder: Path, *, labels_below: int = 3, seed: int = 0) -> Catalogue:
    """Writes a set of 50 + 10 images of 6x5 pixels in 3 classes; the last 10 of the 50 are for validation."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    facts = []
    for part, count in (("train", 50), ("t10k", 10)):
        for name, array in (
            (f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 6, 5))),
            (f"{part}-labels-idx1-ubyte.gz", np.arange(count) % labels_below),
        ):
            packed = gzip.compress(idx(array), mtime=0)
            (folder / name).write_bytes(packed)
            facts.append(FileFacts(name, (Version(hashlib.md5(packed).hexdigest(), len(packed)),)))
    return Catalogue(
        train_images=facts[0],
        train_labels=facts[1],
        test_images=facts[2],
        test_labels=facts[3],
        image_shape=(6, 5, 1),
        class_names=("shirt", "shoe", "bag"),
        train_count=50,
        test_count=10,
        validation_count=10,
    )


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


@pytest.fixture(autouse=True)
def _own_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FMNIST_MIRROR", raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return tmp_path / "origin"


@pytest.fixture
def tiny(origin: Path) -> Catalogue:
    return fill(origin)


def look(tmp_path: Path, catalogue: Catalogue, plan: FetchPlan = NOWHERE, *, fetch: bool = True) -> DataSource:
    return data.find(
        None, cache=tmp_path / "cache", system=tmp_path / "system", fetch=fetch, catalogue=catalogue, plan=plan
    )


def one_line(caught: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


@contextmanager
def closed_port() -> Iterator[str]:
    """An address that refuses; the socket is bound but doesn't listen, so nobody else takes the port."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}/"


# IDX files


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (2, 3, 4, 3)])
def test_read_idx_gives_back_what_was_written(tmp_path: Path, shape: tuple[int, ...], packed: bool) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    found = data.read_idx(path)
    assert found.dtype == np.uint8
    assert np.array_equal(found, array)


GOOD = idx(np.arange(60).reshape(3, 4, 5))
PACKED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "starts with nothing"),
        (GOOD[:10], "within its header"),
        (GOOD[:-1], "it holds only 59"),
        (GOOD + b"x", "it holds more"),
        (b"\0\0\x0d" + GOOD[3:], "starts with 00000d03"),
        (b"\x89PNG\r\n\x1a\n", "starts with 89504e47"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "valid: up to"),
        (PACKED[:-9], "end-of-stream"),
        (PACKED + b"rubbish", "gzip"),
        (PACKED[:-8] + bytes(8), "CRC"),
        (PACKED[:10] + b"\xff" * 30, "decompress"),
        (b"\0\0\x08\x05" + bytes(20), "starts with 00000805"),
    ],
)
def test_a_damaged_idx_file_is_named_with_its_fault(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "broken.idx"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        data.read_idx(path)
    assert str(path) in one_line(caught)
    assert words in one_line(caught)


def test_an_idx_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        data.read_idx(tmp_path / "none")


# Places, in order


def test_a_named_folder_is_the_only_place(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    fill(tmp_path / "cache")
    assert data.find(origin, catalogue=tiny).origin == "--data-dir"
    for folder in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError) as caught:
            data.find(folder, cache=tmp_path / "cache", system=origin, catalogue=tiny)
        assert str(folder / "train-images-idx3-ubyte.gz") in one_line(caught)
        assert "missing" in one_line(caught)


def test_system_goes_before_cache_and_an_incomplete_system_is_skipped(tmp_path: Path, tiny: Catalogue) -> None:
    fill(tmp_path / "cache")
    assert look(tmp_path, tiny).origin == "cache"
    fill(tmp_path / "system")
    source = look(tmp_path, tiny)
    assert (source.origin, source.folder) == ("Debian's package", tmp_path / "system")
    (tmp_path / "system" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert look(tmp_path, tiny).origin == "cache"


def test_the_cache_is_xdg_cache_home_else_the_home_folder(
    tmp_path: Path, tiny: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "xdg" / "fmnist_sweep")
    assert data.find(None, system=tmp_path / "none", catalogue=tiny).folder == tmp_path / "xdg" / "fmnist_sweep"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    fill(tmp_path / "home" / ".cache" / "fmnist_sweep")
    source = data.find(None, system=tmp_path / "none", catalogue=tiny)
    assert source.folder == tmp_path / "home" / ".cache" / "fmnist_sweep"


def test_every_packing_has_the_same_fingerprint(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    name = tiny.train_labels.name
    again = gzip.compress(gzip.decompress((origin / name).read_bytes()), compresslevel=1, mtime=1)
    fill(tmp_path / "other")
    (tmp_path / "other" / name).write_bytes(again)
    both = (*tiny.train_labels.versions, Version(hashlib.md5(again).hexdigest(), len(again)))
    wider = replace(tiny, train_labels=FileFacts(name, both))
    first, second = data.find(origin, catalogue=wider), data.find(tmp_path / "other", catalogue=wider)
    assert first.md5 != second.md5
    assert first.fingerprint == second.fingerprint
    assert pickle.loads(pickle.dumps(first)) == first


# Damage


@pytest.mark.parametrize("place", ["--data-dir", "system", "cache"])
@pytest.mark.parametrize("how", ["altered", "truncated"])
def test_damage_is_named_with_both_sums(tmp_path: Path, tiny: Catalogue, place: str, how: str) -> None:
    folder = tmp_path / place
    fill(folder)
    path = folder / tiny.test_images.name
    whole = path.read_bytes()
    path.write_bytes(whole[:100] if how == "truncated" else whole[:-1] + bytes([whole[-1] ^ 1]))
    data_dir = folder if place == "--data-dir" else None
    with pytest.raises(DataError) as caught:
        data.find(
            data_dir, cache=tmp_path / "cache", system=tmp_path / "system", fetch=False, catalogue=tiny, plan=NOWHERE
        )
    text = one_line(caught)
    assert str(path) in text
    assert tiny.test_images.md5 in text
    assert hashlib.md5(path.read_bytes()).hexdigest() in text
    assert ("truncated (100 of" in text) if how == "truncated" else ("altered" in text)
    assert "--data-dir" in text


def test_nothing_anywhere_and_fetching_off(tmp_path: Path, tiny: Catalogue) -> None:
    with pytest.raises(DataError, match=r"fetching is off.*FMNIST_DATA_DIR"):
        look(tmp_path, tiny, fetch=False)


# Fetching


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
        with peer:
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


def from_package(tmp_path: Path, tiny: Catalogue, *, seconds: float = 30) -> DataSource:
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


# Preparing and splitting


def test_the_split_is_that_of_keras(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    prepared = data.prepare(data.find(origin, catalogue=tiny), tmp_path / "store")
    split = pickle.loads(pickle.dumps(prepared)).load()
    images = data.read_idx(origin / tiny.train_images.name)[..., None]
    labels = data.read_idx(origin / tiny.train_labels.name)
    assert (prepared.image_shape, prepared.classes, prepared.train_images) == ((6, 5, 1), 3, 40)
    assert np.array_equal(split.train_images, images[:40])
    assert np.array_equal(split.train_labels, labels[:40])
    assert np.array_equal(split.validation_images, images[40:])
    assert np.array_equal(split.validation_labels, labels[40:])
    assert isinstance(split.train_images, np.memmap)
    assert not split.train_images.flags.writeable


def test_fewer_training_images_leave_validation_alone(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    source = data.find(origin, catalogue=tiny)
    whole, few = (data.prepare(source, tmp_path / "store", train_images=count).load() for count in (None, 7))
    assert len(few.train_images) == len(few.train_labels) == 7
    assert np.array_equal(few.validation_images, whole.validation_images)
    assert len(list((tmp_path / "store").iterdir())) == 3


@pytest.mark.parametrize("count", [0, -1, 41, True, 1.5])
def test_a_number_of_training_images_out_of_range(tmp_path: Path, origin: Path, tiny: Catalogue, count: int) -> None:
    with pytest.raises(UsageError, match=r"--train-images is .*from 1 to 40"):
        data.prepare(data.find(origin, catalogue=tiny), tmp_path / "store", train_images=count)


@pytest.mark.parametrize("which", ["images", "labels", "json"])
@pytest.mark.parametrize("how", ["altered", "empty", "gone"])
def test_prepare_mends_what_was_damaged(tmp_path: Path, origin: Path, tiny: Catalogue, which: str, how: str) -> None:
    source = data.find(origin, catalogue=tiny)
    store = tmp_path / "store"
    data.prepare(source, store)
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    assert all(source.fingerprint in name for name in before)
    path = next(path for path in store.iterdir() if which in path.name)
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if how == "empty" else content[:-3] + b"\x01\x02\x7f")
    data.prepare(source, store).load()
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before


def test_prepare_leaves_good_files_alone(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    source = data.find(origin, catalogue=tiny)
    data.prepare(source, tmp_path / "store")
    before = {path: path.stat().st_ino for path in (tmp_path / "store").iterdir()}
    data.prepare(source, tmp_path / "store")
    assert {path: path.stat().st_ino for path in (tmp_path / "store").iterdir()} == before


def test_a_store_that_is_lost_or_in_the_way(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    source = data.find(origin, catalogue=tiny)
    prepared = data.prepare(source, tmp_path / "store")
    prepared.labels.unlink()
    with pytest.raises(DataError, match="train-labels"):
        prepared.load()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="can't keep the unpacked images"):
        data.prepare(source, tmp_path / "file")


def test_labels_and_dimensions_must_fit(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    wrong = fill(tmp_path / "wrong", labels_below=4)
    with pytest.raises(DataError, match="holds the label 3; valid: 0 to 2"):
        data.prepare(data.find(tmp_path / "wrong", catalogue=wrong), tmp_path / "store")
    for change in ({"train_count": 49}, {"image_shape": (5, 6, 1)}):
        source = replace(data.find(origin, catalogue=tiny), catalogue=replace(tiny, **change))
        with pytest.raises(DataError, match="has the dimensions"):
            data.prepare(source, tmp_path / "store")


def test_files_that_change_after_find_are_noticed(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    source = data.find(origin, catalogue=tiny)
    fill(origin, seed=1)
    with pytest.raises(DataError, match="train-images"):
        data.prepare(source, tmp_path / "store")
    with pytest.raises(DataError, match="t10k-images"):
        data.open_test_set(source)


# The test set


def test_the_test_set_has_one_door(tmp_path: Path, origin: Path, tiny: Catalogue) -> None:
    source = data.find(origin, catalogue=tiny)
    test = data.open_test_set(source)
    assert test.images.shape == (10, 6, 5, 1)
    assert test.labels.shape == (10,)
    prepared = data.prepare(source, tmp_path / "store")
    assert not [name for name in dir(prepared) if "test" in name.lower()]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "store").iterdir())
    assert all(image.tobytes() not in stored for image in test.images)


def test_importing_is_light() -> None:
    code = "import sys, fmnist_sweep.data; print(*(m for m in ('requests', 'tensorflow', 'keras') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.split()


@pytest.mark.slow
def test_the_real_data_set(tmp_path: Path) -> None:
    source = data.find(None, cache=tmp_path / "cache")
    assert source.fingerprint == "c60e6401d1d3c52e"
    split = data.prepare(source, tmp_path / "store").load()
    assert split.train_images.shape == (48_000, 28, 28, 1)
    assert split.validation_images.shape == (12_000, 28, 28, 1)
    assert set(np.unique(split.validation_labels)) == set(range(10))
    test = data.open_test_set(source)
    assert test.images.shape == (10_000, 28, 28, 1)
    assert np.bincount(test.labels).tolist() == [1000] * 10
