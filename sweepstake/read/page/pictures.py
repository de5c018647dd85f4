"""Small pictures as PNG data URIs: of images, and of which pixels are still read."""

import struct
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

GREY, COLOUR = 0, 2


def data_uri(pixels: "np.ndarray") -> str:
    """Of uint8 (height, width) in greys, or (height, width, 3) in colours."""
    height, width = pixels.shape[:2]
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR if pixels.ndim == 3 else GREY, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
        for kind, part in ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")))
    return f"data:image/png;base64,{b64encode(whole).decode()}"
