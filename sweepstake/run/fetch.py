"""Downloads: published files from known mirrors.

Resumed where they stopped, believed only when their SHA-256 is right.
"""

import hashlib
import os
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from sweepstake.base.errors import UserError, unknown
from sweepstake.pieces.datasets import dataset

if sys.platform != "win32":
    import fcntl

Progress = Callable[[str, int, int], None]
"""progress(file, bytes here, bytes in all)"""

TRIES = 5
"""Times a mirror is asked for one file, as long as each try brings more of it."""


@dataclass(frozen=True)
class PublishedFile:
    """A file as its authors published it."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Published:
    """Where a data set comes from. `members`: what to take out of its archive, name -> bytes."""

    folder: str
    files: tuple[PublishedFile, ...]
    mirrors: tuple[str, ...]
    members: Mapping[str, int] = field(default_factory=dict[str, int])


PUBLISHED: dict[str, Published] = {
    "mnist": Published("mnist", (
        PublishedFile("train-images-idx3-ubyte.gz", 9_912_422,
                      "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        PublishedFile("train-labels-idx1-ubyte.gz", 28_881,
                      "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        PublishedFile("t10k-images-idx3-ubyte.gz", 1_648_877,
                      "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        PublishedFile("t10k-labels-idx1-ubyte.gz", 4_542,
                      "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ), ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist",
        "http://yann.lecun.com/exdb/mnist")),
    "fashion_mnist": Published("fashion-mnist", (
        PublishedFile("train-images-idx3-ubyte.gz", 26_421_880,
                      "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        PublishedFile("train-labels-idx1-ubyte.gz", 29_515,
                      "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        PublishedFile("t10k-images-idx3-ubyte.gz", 4_422_102,
                      "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        PublishedFile("t10k-labels-idx1-ubyte.gz", 5_148,
                      "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ), ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion")),
    "kmnist": Published("kmnist", (
        PublishedFile("train-images-idx3-ubyte.gz", 18_165_135,
                      "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
        PublishedFile("train-labels-idx1-ubyte.gz", 29_497,
                      "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
        PublishedFile("t10k-images-idx3-ubyte.gz", 3_041_136,
                      "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
        PublishedFile("t10k-labels-idx1-ubyte.gz", 5_120,
                      "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
    ), ("https://codh.rois.ac.jp/kmnist/dataset/kmnist", "http://codh.rois.ac.jp/kmnist/dataset/kmnist")),
    "cifar10": Published("cifar-10-batches-bin", (
        PublishedFile("cifar-10-binary.tar.gz", 170_052_171,
                      "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    ), ("https://www.cs.toronto.edu/~kriz", "https://cave.cs.toronto.edu/kriz"),
        {**{f"data_batch_{i}.bin": 30_730_000 for i in range(1, 6)}, "test_batch.bin": 30_730_000}),
    "cifar100": Published("cifar-100-binary", (
        PublishedFile("cifar-100-binary.tar.gz", 168_513_733,
                      "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
    ), ("https://www.cs.toronto.edu/~kriz", "https://cave.cs.toronto.edu/kriz"),
        {"train.bin": 153_700_000, "test.bin": 30_740_000}),
}
"""MNIST and Fashion-MNIST: hashes of the files themselves.

KMNIST and CIFAR: as TensorFlow Datasets and torchvision-ruby list them.
"""


class _Refused(Exception):
    """What a mirror did wrong."""


def fetch(name: str, destination: Path, mirrors: Sequence[str] | None = None, progress: Progress | None = None, *,
          stall: float = 30.0) -> list[Path]:
    """Bring a published data set under a data directory.

    What is already there and right is left, a partial file is gone on with.
    A mirror that gives no byte for `stall` seconds is left for the next.
    """
    if name not in PUBLISHED:
        if name in dataset.pieces:
            raise UserError(f'data set "{name}": has nothing to fetch. These have: {", ".join(sorted(PUBLISHED))}.')
        raise UserError(unknown(f'data fetch "{name}"', "published data set", name, PUBLISHED))
    source, heard = PUBLISHED[name], progress or (lambda *_: None)
    for mirror in mirrors or ():
        if not mirror.startswith(("http://", "https://")):
            raise UserError(f'mirror "{mirror}": expected an address that begins with http:// or https://.')
    folder = destination / source.folder
    with _on_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if not source.members:
            for file in source.files:
                _get(file, folder / file.name, mirrors or source.mirrors, heard, stall)
            return [folder / file.name for file in source.files]
        members = [folder / member for member in source.members]
        if any(_size(path) != size for path, size in zip(members, source.members.values(), strict=True)):
            (file,) = source.files
            archive = destination / file.name
            _get(file, archive, mirrors or source.mirrors, heard, stall)
            _unpack(archive, folder, source.members)
            archive.unlink()
        return members


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two fetches of one data set at once would write into one another's files.

    (Windows keeps an open file to itself.)
    """
    if sys.platform == "win32":
        yield
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder}: another fetch is at work here. Wait until it is done.") from error
        except OSError:
            pass  # A file system without locks: the hash still tells.
        yield
    finally:
        os.close(held)


def _get(file: PublishedFile, target: Path, mirrors: Sequence[str], heard: Progress, stall: float) -> None:
    """One file, from the first mirror that gives it whole. It has another name (.part) until its SHA-256 is right."""
    if target.is_file() and _sha256(target) == file.sha256:
        return
    part, refused = target.with_name(f"{target.name}.part"), list[str]()
    for mirror in mirrors:
        address = f"{mirror.rstrip('/')}/{file.name}"
        try:
            _from_mirror(address, file, part, heard, stall)
        except _Refused as error:
            refused.append(f"  {address}: {error}")
            continue
        with _on_disk(target):
            os.replace(part, target)
        return
    kept = ""
    if _size(part):
        kept = f"  {_size(part):,} of {file.size:,} bytes are kept: the same command goes on from there.\n"
    raise UserError(f"{file.name}: no mirror gave it.\n" + "\n".join(refused)
                    + f"\n{kept}  Or bring it from elsewhere to {target}.")


def _from_mirror(address: str, file: PublishedFile, part: Path, heard: Progress, stall: float) -> None:
    """All of a file from one mirror, asked again where it was cut off, from 0 where what came was wrong."""
    said = "gave nothing"
    for _ in range(TRIES):
        before = _size(part)
        try:
            if before < file.size:
                _download(address, file, part, heard, stall)
            said = f"ended after {_size(part):,} of {file.size:,} bytes"
        except TimeoutError:
            said = f"stalled for {stall:g} s after {_size(part):,} of {file.size:,} bytes"
        except (OSError, HTTPException, ValueError) as error:
            said = _plain(error)
        if _size(part) >= file.size:
            got = _sha256(part)
            if got == file.sha256:
                return
            part.unlink()
            said = f"gave other bytes than were published (SHA-256 {got[:16]}..., expected {file.sha256[:16]}...)"
            if not before:
                break
            # What was wrong may be what another mirror had left: once more, from 0.
        elif _size(part) <= before:
            break
    raise _Refused(said)


def _download(address: str, file: PublishedFile, part: Path, heard: Progress, stall: float) -> None:
    """Append to the part what it lacks; a server that ignores the range begins it anew."""
    have = _size(part)
    headers = {"User-Agent": "sweepstake", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        response = urlopen(Request(address, headers=headers), timeout=stall)
    except HTTPError as error:
        error.close()
        raise
    except OSError as error:
        reason = getattr(error, "reason", None)  # urllib hides a time-out while connecting inside URLError.
        raise reason if isinstance(reason, TimeoutError) else error from None
    with response:
        begins = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if not (response.status == 206 and begins):
            have = 0
        length = response.headers.get("Content-Length")
        if (response.status == 206 and not begins) or (length is not None and int(length) != file.size - have):
            raise _Refused(f"offers {length} bytes; expected {file.size - have}")
        with _on_disk(part):
            out = part.open("ab" if have else "wb")
        with out:
            while have < file.size and (chunk := response.read1(min(1 << 16, file.size - have))):
                with _on_disk(part):
                    out.write(chunk)
                have += len(chunk)
                heard(file.name, have, file.size)
            with _on_disk(part):
                out.flush()
                os.fsync(out.fileno())


def _unpack(archive: Path, folder: Path, members: Mapping[str, int]) -> None:
    """Only the named members, each a plain file of the right size, under their bare names.

    No path in an archive is followed.
    """
    lacking = dict(members)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = member.name.removeprefix(f"{folder.name}/")
                if not (member.isreg() and member.name == f"{folder.name}/{name}" and member.size == lacking.get(name)):
                    continue
                content = tar.extractfile(member)
                assert content is not None
                part = folder / f"{name}.part"
                with part.open("wb") as out:
                    while chunk := content.read(1 << 20):
                        out.write(chunk)
                    out.flush()
                    os.fsync(out.fileno())
                os.replace(part, folder / name)
                del lacking[name]
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{archive}: cannot be unpacked ({error}). "
                        f"Free some space, or delete it and fetch it again.") from error
    if lacking:
        raise UserError(f"{archive}: lacks {', '.join(lacking)}, of the size expected. Delete it and fetch it again.")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"answered {error.code} {error.reason}"
    return str(getattr(error, "reason", None) or error) or type(error).__name__


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    """A full or forbidden disk is no mirror's fault: it ends the fetch, and says so."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}). "
                        f"Say another place with `--data DIR`.") from error
