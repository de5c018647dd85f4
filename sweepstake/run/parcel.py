"""What travels between the driver of a study and the nodes that compute for it: these structs as bytes, no pickle."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from sweepstake.run.settings import Task

Files = Mapping[str, Mapping[str, bytes]]
"""The content of the files of cells: by id, and by the name in the cell's folder."""


class Message(Struct, frozen=True, tag=True):
    """What is asked of a node, or what it says."""


class Hello(Message, frozen=True):
    """Say where you are, and what is other there than `versions`."""

    versions: dict[str, str]


class Greeting(Message, frozen=True):
    """Differences, a line each; none where all is alike."""

    host: str
    unlike: list[str]


class Piece(Message, frozen=True):
    """A piece of a data set's decoded images, compressed. `last` says that all of it is there now."""

    data: str
    """The hash of all images, and a token of this sending."""
    name: str
    """Of the file."""
    start: int
    """Where it begins; of the last piece, which has no content, the number of classes."""
    content: bytes
    last: bool


class Taken(Message, frozen=True):
    """A piece is there; or what is wrong."""

    error: str = ""


class Parcel(Message, frozen=True):
    """Cells to compute side by side (one, where there is no stack) from their last finished round on, for a while."""

    tasks: list[Task]
    files: Files
    """What the driver's store has of them, and of donors."""
    plugins: list[tuple[str, bytes]]
    """The name and the text of each."""
    versions: dict[str, str]
    data: str
    """The hash of the decoded images; empty where every node has them in the package."""
    device: str
    stack: int | None
    seconds: float
    """After which it comes back, at the end of a round."""
    seconds_left: float | None
    """Of the cell's time limit."""


class Back(Message, frozen=True):
    """A parcel came back: what happened, and every file that is new."""

    host: str
    events: list[bytes]
    files: Files
    lacks: str = ""
    """The hash of images that are not here."""
    unlike: list[str] = []
    """What is other here."""
    code: int | None = None
    """The exit code of the process that computed it, which ended without a word."""
    over: bool = False
    """It reached its time limit."""
    seconds: float = 0.0
    """What it took."""


Said = Hello | Piece | Parcel
Answer = Greeting | Taken | Back

encode = msgspec.msgpack.Encoder().encode
asked = msgspec.msgpack.Decoder(Said).decode
answered = msgspec.msgpack.Decoder(Answer).decode
