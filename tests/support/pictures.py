"""Image files, good and bad."""

from __future__ import annotations

import io
import random
import struct
import zlib

from PIL import Image

Colour = tuple[int, int, int]


def picture(form: str = "PNG", size: tuple[int, int] = (64, 48), colour: Colour = (30, 120, 200)) -> bytes:
    """Return a plain image with a mark in one corner."""
    image = Image.new("RGB", size, colour)
    image.paste((250, 240, 90), (0, 0, size[0] // 4, size[1] // 4))
    return encoded(image, form)


def photo(form: str = "JPEG", seed: int = 1, side: int = 96) -> bytes:
    """Return an image of noise, as large as a file of its size can be."""
    rng = random.Random(seed)  # noqa: S311
    return encoded(Image.frombytes("RGB", (side, side), rng.randbytes(side * side * 3)), form)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def animated(form: str) -> bytes:
    """Return two pictures in one file."""
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    return encoded(frames[0], form, save_all=True, append_images=frames[1:])


def bomb(side: int = 20_000) -> bytes:
    """Return a small PNG that would be gigabytes of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packed = zlib.compressobj(9)
    row = b"\0" + b"\0" * side * 3
    data = b"".join(packed.compress(row) for _ in range(64)) + packed.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
