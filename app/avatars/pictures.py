"""Makes an avatar of an uploaded image, or says what is wrong with it."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from app.avatars.drawing import SIDE

if TYPE_CHECKING:
    from PIL import Image as PillowImage

FORMATS = ("PNG", "JPEG", "WEBP")
SIDE_MIN = 16


class PictureError(ValueError):
    """The file is no image that can become an avatar; the message says why."""


def normalised(file: bytes, *, pixels_max: int) -> bytes:
    """Return the middle of the image as a PNG of ``SIDE``, drawn anew: nothing else of the file is left.

    What the file is, its content says. Raises ``PictureError``.
    """
    if not file:
        raise PictureError("is empty")
    # Pillow is loaded only where an image is looked at.
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415

    # A second wall behind the check of the size below. Pillow warns at this and refuses at twice this.
    Image.MAX_IMAGE_PIXELS = max(1, pixels_max // 2)
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(file), formats=FORMATS) as image:
            _check(image, pixels_max)
            image.draft("RGB", (SIDE * 2, SIDE * 2))  # a JPEG is decoded no larger than is needed
            image.load()
            upright = ImageOps.exif_transpose(image)
            flat = _flat(upright)
            return _png(ImageOps.fit(flat, (SIDE, SIDE), Image.Resampling.LANCZOS))
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("is no PNG, JPEG or WebP image, or a broken one") from None
    except Image.DecompressionBombError:
        raise PictureError(f"has more than {pixels_max} pixels") from None
    except Exception as exc:  # decoders raise what they like on bytes that nobody expected
        raise PictureError(f"is a broken image: {type(exc).__name__}") from exc


def _check(image: PillowImage.Image, pixels_max: int) -> None:
    width, height = image.size
    if width * height > pixels_max:
        raise PictureError(f"has {width} x {height} pixels; {pixels_max} in all are allowed")
    if min(width, height) < SIDE_MIN:
        raise PictureError(f"has {width} x {height} pixels; at least {SIDE_MIN} x {SIDE_MIN} are needed")
    # Phones store several JPEGs in one file (MPO), of which the first is the photo.
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        raise PictureError("is animated; send a still image")


def _flat(image: PillowImage.Image) -> PillowImage.Image:
    """Return the image in RGB; what is transparent becomes white."""
    from PIL import Image  # noqa: PLC0415

    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    flat = Image.new("RGB", rgba.size, "white")
    flat.paste(rgba, mask=rgba.getchannel("A"))
    return flat


def _png(image: PillowImage.Image) -> bytes:
    image.info.clear()  # comments, profiles and EXIF would be written along
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()
