"""Files that say whose they are and prove that no bit of them has changed.

A seal, {kind, id, sha256}, is the first key of a JSON file and part of the metadata of a safetensors file. Its hash is
of all bytes of the file, with the hash of "KIND ID" standing where the seal has its own. A file without a seal is of
before there were any.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sweepstake.run import unsealed

if TYPE_CHECKING:
    from torch import Tensor


class Damaged(Exception):
    """A file is there, and is not what was written: named with its path, and never read."""

    def __init__(self, path: Path | str, why: str):
        self.path, self.why = Path(path), why
        super().__init__(f"{self.path}: damaged ({why})")


class Seal(msgspec.Struct, frozen=True, omit_defaults=True):
    kind: str
    id: str
    sha256: str
    masks: str = ""
    """Of a result: the hash in the seal of its masks."""


@dataclass(frozen=True)
class File:
    """What a file holds, proven.

    Its seal, if it has one, its JSON or the texts beside its tensors, and all its bytes.
    """

    seal: Seal | None
    said: dict[str, Any]
    content: bytes

    @property
    def tensors(self) -> "dict[str, Tensor]":
        from safetensors.torch import load

        return load(self.content)

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        """The same without PyTorch: of each tensor its dtype, its shape and its bytes."""
        from safetensors import deserialize

        return dict(deserialize(self.content))


def seal_json(kind: str, id_: str, said: Mapping[str, Any], *, lines: bool = False, masks: str = "") -> bytes:
    """A JSON file with its seal; with `lines` for people, too. NaN becomes null: JSON has no word for it."""
    content = msgspec.json.encode({"seal": _open_seal(kind, id_, masks), **said})
    return _close(msgspec.json.format(content, indent=1) if lines else content, kind, id_)


def seal_tensors(kind: str, id_: str, tensors: "Mapping[str, Tensor]", **texts: str) -> bytes:
    """A safetensors file with its seal. Equal tensors and texts give equal bytes."""
    from safetensors.torch import save

    seal = msgspec.json.encode(_open_seal(kind, id_)).decode()
    head, body = _in_order(save(dict(tensors), metadata={"seal": seal, **texts}))
    hash_ = hashlib.sha256(head)
    hash_.update(body)
    return b"".join((head.replace(_blank(kind, id_), hash_.hexdigest().encode(), 1), body))


def seal_of(content: bytes) -> Seal:
    """The seal of a safetensors file."""
    return msgspec.json.decode(_texts(content)["seal"], type=Seal)


def parsed(content: bytes | str) -> Any:
    """JSON by the fast reader, or by the patient one: files from before seals may say NaN."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(content)


def read(path: Path | str, kind: str, id_: str | None = None) -> File | None:
    """The file, if it is whole and what it is asked for; None where there is none. Without an id any one will do."""
    try:
        with open(path, "rb", buffering=0) as file:
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(path, f"cannot be read: {error.strerror}") from error
    return prove(content, path, kind, id_)


def prove(content: bytes, path: Path | str, kind: str, id_: str | None = None) -> File:
    """What is or would be a file's content, if it is whole and what it is asked for."""
    tensors = str(path).endswith(".safetensors")
    try:
        said = _texts(content) if tensors else parsed(content)
        if not isinstance(said, dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise Damaged(path, f"not a {'safetensors' if tensors else 'JSON'} file") from None
    if "seal" not in said:
        if not unsealed.fits(kind, said, content):
            raise Damaged(path, f"neither sealed nor {kind} as it was before files were")
        return File(None, said, content)
    try:
        seal = said.pop("seal")
        seal = msgspec.json.decode(seal, type=Seal) if tensors else msgspec.convert(seal, Seal)
    except (msgspec.DecodeError, TypeError, ValueError):
        raise Damaged(path, "its seal is broken") from None
    if why := _broken(seal, content, kind, id_):
        raise Damaged(path, why)
    return File(seal, said, content)


def _texts(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: a length of 8 bytes, and so much JSON."""
    header = parsed(content[8:8 + int.from_bytes(content[:8], "little")])
    return header.get("__metadata__", {}) if isinstance(header, dict) else header


def _in_order(content: bytes) -> tuple[bytes, memoryview]:
    """The same file with its metadata sorted, as head and rest: the library writes them in an order of chance."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = parsed(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)  # What the format asks for, so that tensors lie at multiples of 8.
    return len(text).to_bytes(8, "little") + text, memoryview(content)[start:]


def _broken(seal: Seal, content: bytes, kind: str, id_: str | None) -> str:
    """What is wrong with a sealed file; nothing where it is whole."""
    opened = content.replace(seal.sha256.encode(), _blank(seal.kind, seal.id), 1)
    if hashlib.sha256(opened).hexdigest() != seal.sha256:
        return "its content is not what its hash says"
    if seal.kind != kind or id_ not in (None, seal.id):
        return f"it is {seal.kind} of {seal.id}"
    return ""


def _open_seal(kind: str, id_: str, masks: str = "") -> Seal:
    return Seal(kind, id_, _blank(kind, id_).decode(), masks)


def _close(content: bytes, kind: str, id_: str) -> bytes:
    return content.replace(_blank(kind, id_), hashlib.sha256(content).hexdigest().encode(), 1)


def _blank(kind: str, id_: str) -> bytes:
    return hashlib.sha256(f"{kind} {id_}".encode()).hexdigest().encode()
