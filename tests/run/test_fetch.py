"""Downloads, against mirrors on this machine that fail, stall, cut off and lie."""

import hashlib
import io
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sweepstake.base.errors import UserError
from sweepstake.pieces.datasets import dataset
from sweepstake.run import fetch as fetching
from sweepstake.run.fetch import PUBLISHED, Published, PublishedFile, fetch

BODY = bytes(range(256)) * 1024  # 256 KiB: more than the sockets' buffers hold back in one piece.
LABELS = b"labels"


def published(name: str, body: bytes) -> PublishedFile:
    return PublishedFile(name, len(body), hashlib.sha256(body).hexdigest())


class Mirrors:
    """A server whose paths begin with what the mirror does: /good, /500, /stall, /cut, /cut-always, /lie, /page, /deaf (to ranges)."""

    def __init__(self) -> None:
        self.files, self.asked, self.over = dict[str, bytes](), list[tuple[str, str]](), threading.Event()
        mirrors = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirrors.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def url(self, manner: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/{manner}"

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        manner, name = to.path.strip("/").split("/", 1)
        wanted = to.headers.get("Range", "")
        self.asked.append((f"{manner}/{name}", wanted))
        body = self.files[name]
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and manner != "deaf" else 0
        if manner == "500":
            to.send_error(500)
            return
        if manner == "page":
            body = b"<html>Sign in to the network</html>"
        if manner in ("lie", "lie-half"):
            body = bytes(len(body))
        to.send_response(206 if begin else 200)
        if begin:
            to.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        to.send_header("Content-Length", str(len(body) - begin))
        to.end_headers()
        body = body[begin:]
        if manner in ("stall", "cut", "lie-half", "cut-always"):
            body = body[: 0 if manner == "cut-always" else len(body) // 2]
        to.wfile.write(body)
        to.wfile.flush()
        if manner == "stall":
            self.over.wait(10)

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    monkeypatch.setenv("no_proxy", "*")
    made = Mirrors()
    made.files = {"images.gz": BODY, "labels.gz": LABELS}
    monkeypatch.setitem(PUBLISHED, "tiny", Published(
        "tiny-folder", (published("images.gz", BODY), published("labels.gz", LABELS)), (made.url("good"),)))
    yield made
    made.close()


def get(mirrors: Mirrors, to: Path, *manners: str, **options: float) -> list[Path]:
    return fetch("tiny", to, [mirrors.url(manner) for manner in manners], **options)  # type: ignore[arg-type]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_files_come_under_their_folder_with_the_bytes_that_were_published(mirrors, tmp_path):
    told = []
    paths = fetch("tiny", tmp_path, progress=lambda *said: told.append(said))
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["tiny-folder/images.gz", "tiny-folder/labels.gz"]
    assert paths[0].read_bytes() == BODY and paths[1].read_bytes() == LABELS
    assert names(tmp_path / "tiny-folder") == {"images.gz", "labels.gz"}
    assert told[-1] == ("labels.gz", 6, 6) and ("images.gz", 262_144, 262_144) in told
    assert [done for name, done, _ in told if name == "images.gz"] == sorted(done for name, done, _ in told if name == "images.gz")


def test_what_is_here_and_right_is_not_asked_for_again_and_what_is_wrong_is(mirrors, tmp_path):
    get(mirrors, tmp_path, "good")
    (tmp_path / "tiny-folder" / "labels.gz").write_bytes(b"LABELS")
    mirrors.asked.clear()
    get(mirrors, tmp_path, "good")
    assert mirrors.asked == [("good/labels.gz", "")]
    assert (tmp_path / "tiny-folder" / "labels.gz").read_bytes() == LABELS


@pytest.mark.parametrize("bad", ["500", "cut-always", "lie", "page", "lie-half"])
def test_a_mirror_that_fails_is_left_for_the_next(mirrors, tmp_path, bad):
    assert get(mirrors, tmp_path, bad, "good")[0].read_bytes() == BODY
    assert mirrors.asked[0] == (f"{bad}/images.gz", "")


def test_a_mirror_that_stalls_is_left_for_the_next_which_goes_on_where_it_stopped(mirrors, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "TRIES", 1)
    began = time.monotonic()
    assert get(mirrors, tmp_path, "stall", "good", stall=0.3)[0].read_bytes() == BODY
    assert time.monotonic() - began < 5
    assert mirrors.asked[1] == ("good/images.gz", "bytes=131072-")


def test_a_nobody_at_the_address_is_left_for_the_next(mirrors, tmp_path):
    gone = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    gone.server_close()
    paths = fetch("tiny", tmp_path, [f"http://127.0.0.1:{gone.server_address[1]}", mirrors.url("good")])
    assert paths[0].read_bytes() == BODY


def test_a_connection_cut_again_and_again_is_gone_on_with_at_the_same_mirror(mirrors, tmp_path):
    get(mirrors, tmp_path, "cut", "good")
    asked = [wanted for path, wanted in mirrors.asked if path == "cut/images.gz"]
    assert asked == ["", "bytes=131072-", "bytes=196608-", "bytes=229376-", "bytes=245760-"]
    assert ("good/images.gz", "bytes=253952-") in mirrors.asked


def test_a_killed_fetch_goes_on_where_it_stopped(mirrors, tmp_path):
    def killed(name, done, _):
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("tiny", tmp_path, progress=killed)
    assert names(tmp_path / "tiny-folder") == {"images.gz.part"}
    kept = (tmp_path / "tiny-folder" / "images.gz.part").stat().st_size
    assert fetch("tiny", tmp_path)[0].read_bytes() == BODY
    assert kept > 100_000 and mirrors.asked[1] == ("good/images.gz", f"bytes={kept}-")


def test_a_server_deaf_to_ranges_is_read_from_the_start(mirrors, tmp_path):
    (tmp_path / "tiny-folder").mkdir()
    (tmp_path / "tiny-folder" / "images.gz.part").write_bytes(BODY[:1000])
    assert get(mirrors, tmp_path, "deaf")[0].read_bytes() == BODY


@pytest.mark.parametrize("left", [bytes(1000), bytes(len(BODY)), bytes(len(BODY) + 1)])
def test_wrong_bytes_left_by_another_mirror_do_not_blame_this_one(mirrors, tmp_path, left):
    (tmp_path / "tiny-folder").mkdir()
    (tmp_path / "tiny-folder" / "images.gz.part").write_bytes(left)
    assert get(mirrors, tmp_path, "good")[0].read_bytes() == BODY


def test_when_no_mirror_gives_it_each_is_told_and_nothing_wrong_has_the_final_name(mirrors, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "TRIES", 2)
    with pytest.raises(UserError) as error:
        get(mirrors, tmp_path, "500", "lie", "page", "stall", stall=0.2)
    said = str(error.value)
    assert said.startswith("images.gz: no mirror gave it.\n")
    assert "/500/images.gz: answered 500" in said and "/page/images.gz: offers 35 bytes; expected 262144" in said
    assert "/lie/images.gz: gave other bytes than were published (SHA-256 8a39d2abd3999ab7..., expected " in said
    assert "/stall/images.gz: stalled for 0.2 s after 196,608 of 262,144 bytes" in said
    assert "196,608 of 262,144 bytes are kept: the same command goes on from there." in said
    assert f"bring it from elsewhere to {tmp_path / 'tiny-folder' / 'images.gz'}" in said
    assert names(tmp_path / "tiny-folder") == {"images.gz.part"}


@pytest.mark.parametrize(("name", "said"), [
    ("digits", 'data set "digits": has nothing to fetch. These have: cifar10, cifar100, fashion_mnist, kmnist, mnist'),
    ("mnits", 'Did you mean "mnist"?'),
])
def test_what_cannot_be_fetched_is_told(tmp_path, name, said):
    with pytest.raises(UserError) as error:
        fetch(name, tmp_path)
    assert said in str(error.value)


def test_a_mirror_that_is_no_web_address_is_refused(mirrors, tmp_path):
    with pytest.raises(UserError, match='mirror "file:///etc": expected an address that begins with http'):
        fetch("tiny", tmp_path, ["file:///etc"])


def test_a_place_that_cannot_be_written_is_told_and_blames_no_mirror(mirrors, tmp_path):
    (tmp_path / "tiny-folder").write_text("a file where the folder goes")
    with pytest.raises(UserError, match="tiny-folder: cannot be written .* Say another place with `--data DIR`"):
        fetch("tiny", tmp_path)
    assert mirrors.asked == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps an open file to itself")
def test_two_fetches_of_one_data_set_at_once_do_not_write_into_one_another(mirrors, tmp_path):
    def second(name, done, _):
        if (name, done) == ("labels.gz", 6):
            with pytest.raises(UserError, match="tiny-folder: another fetch is at work here. Wait until it is done."):
                fetch("tiny", tmp_path)

    assert fetch("tiny", tmp_path, progress=second) == fetch("tiny", tmp_path)


# Archives.


def archive(*members: tuple[str, bytes], links: tuple[tuple[str, str], ...] = ()) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for name, target in links:
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.size = tarfile.SYMTYPE, target, 5
                tar.addfile(info)
            for name, body in members:
                info = tarfile.TarInfo(name)
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
        return file.getvalue()


def publish_archive(monkeypatch: pytest.MonkeyPatch, mirrors: Mirrors, body: bytes) -> None:
    mirrors.files["box.tar.gz"] = body
    monkeypatch.setitem(PUBLISHED, "tiny", Published(
        "box", (published("box.tar.gz", body),), (mirrors.url("good"),), {"train.bin": 5, "test.bin": 3}))


def test_only_the_named_members_come_out_of_an_archive_and_no_path_is_followed(mirrors, tmp_path, monkeypatch):
    publish_archive(monkeypatch, mirrors, archive(
        ("../evil", b"evil!"), ("/tmp/evil", b"evil!"), ("box/../train.bin", b"evil!"), ("train.bin", b"evil!"), ("box/readme.html", b"x"),
        ("box/train.bin", b"evil"), ("box/train.bin", b"train"), ("box/test.bin", b"tes"), links=(("box/train.bin", "/etc/passwd"),)))
    paths = fetch("tiny", tmp_path / "data")
    assert {path.name: path.read_bytes() for path in paths} == {"train.bin": b"train", "test.bin": b"tes"}
    assert names(tmp_path) == {"data"} and names(tmp_path / "data") == {"box"}
    assert names(tmp_path / "data" / "box") == {"train.bin", "test.bin"}
    mirrors.asked.clear()
    fetch("tiny", tmp_path / "data")
    assert mirrors.asked == []


def test_an_archive_is_not_opened_before_its_hash_is_right(mirrors, tmp_path, monkeypatch):
    publish_archive(monkeypatch, mirrors, archive(("box/train.bin", b"train"), ("box/test.bin", b"tes")))
    monkeypatch.setattr(tarfile, "open", lambda *_: pytest.fail("opened"))
    with pytest.raises(UserError, match="gave other bytes than were published"):
        get(mirrors, tmp_path, "lie")


def test_an_archive_that_lacks_a_member_is_told(mirrors, tmp_path, monkeypatch):
    publish_archive(monkeypatch, mirrors, archive(("box/train.bin", b"train"), ("box/test.bin", b"too long")))
    with pytest.raises(UserError, match="box.tar.gz: lacks test.bin, of the size expected"):
        fetch("tiny", tmp_path)


# The list of what is published.


def test_every_data_set_that_reads_published_files_can_be_fetched_into_the_folder_it_reads():
    folders = {name: piece.traits["folder"] for name, piece in dataset.pieces.items() if "folder" in piece.traits}
    assert folders == {name: each.folder for name, each in PUBLISHED.items()}


def test_what_is_published_is_said_whole():
    files = [file for each in PUBLISHED.values() for file in each.files]
    assert len(files) == 14 and len({file.sha256 for file in files}) == 14
    assert all(len(file.sha256) == 64 and file.size > 4000 for file in files)
    assert all(mirror.startswith("http") and not mirror.endswith("/") for each in PUBLISHED.values() for mirror in each.mirrors)
    assert all(len(each.mirrors) >= 2 for each in PUBLISHED.values())
    assert PUBLISHED["cifar10"].members["data_batch_1.bin"] == 10_000 * 3073 and PUBLISHED["cifar100"].members["train.bin"] == 50_000 * 3074
