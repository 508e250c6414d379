"""Uploaded images."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.avatars.pictures import PictureError, normalised
from tests.support.pictures import animated, bomb, encoded, photo, picture

PIXELS_MAX = 4_000_000


def kept(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(normalised(file, pixels_max=PIXELS_MAX)))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_each_format_becomes_a_square_png(form: str) -> None:
    image = kept(picture(form, size=(300, 200)))
    assert (image.format, image.size, image.mode) == ("PNG", (256, 256), "RGB")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_kind_of_pixel_is_understood(mode: str) -> None:
    form = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    assert kept(encoded(Image.new(mode, (40, 40)), form)).size == (256, 256)


def test_transparent_is_white() -> None:
    assert kept(encoded(Image.new("RGBA", (40, 40), (200, 0, 0, 0)), "PNG")).getpixel((5, 5)) == (
        255,
        255,
        255,
    )


def test_nothing_but_pixels_is_left() -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET-PLACE"
    exif[0x0112] = 6  # turned by a quarter
    image = Image.new("RGB", (100, 50), "blue")
    image.paste("red", (0, 0, 50, 50))
    jpeg = encoded(image, "JPEG", exif=exif.tobytes(), comment=b"SECRET-COMMENT")
    assert b"SECRET" in jpeg
    result = normalised(jpeg + b"<script>SECRET</script>", pixels_max=PIXELS_MAX)
    assert b"SECRET" not in result
    upright = Image.open(io.BytesIO(result)).convert("RGB")
    assert upright.getexif() == {}
    red, blue = upright.getpixel((128, 10)), upright.getpixel((128, 245))
    assert isinstance(red, tuple)
    assert isinstance(blue, tuple)
    assert red[0] > 200 > blue[0], "it was turned before its EXIF was dropped"
    told = PngInfo()
    told.add_text("Comment", "SECRET")
    assert b"SECRET" not in normalised(encoded(image, "PNG", pnginfo=told), pixels_max=PIXELS_MAX)


def test_the_first_photo_of_several_is_taken() -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    mpo = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    pixel = kept(mpo).getpixel((100, 100))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 200 > pixel[2]


def _overlong_text() -> bytes:
    told = PngInfo()
    told.add_text("Comment", "A" * 5_000_000, zip=True)
    return encoded(Image.new("RGB", (32, 32)), "PNG", pnginfo=told)


@pytest.mark.parametrize(
    ("file", "what"),
    [
        (b"", "is empty"),
        (b"hello", "is no PNG"),
        (b"%PDF-1.7\n", "is no PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no PNG"),
        (encoded(Image.new("RGB", (32, 32)), "GIF"), "is no PNG"),
        (encoded(Image.new("RGB", (32, 32)), "BMP"), "is no PNG"),
        (encoded(Image.new("RGB", (32, 32)), "TIFF"), "is no PNG"),
        (photo("JPEG")[:2000], "broken"),
        (photo("PNG")[:2000], "broken"),
        (photo("WEBP")[:2000], "broken"),
        (photo("PNG")[:40], "broken"),
        (animated("PNG"), "animated"),
        (animated("WEBP"), "animated"),
        (bomb(), "pixels"),
        (picture(size=(15, 400)), "at least 16 x 16"),
        (picture(size=(2100, 2000)), "4000000"),
        (_overlong_text(), "broken"),
    ],
)
def test_what_is_no_picture_says_why(file: bytes, what: str) -> None:
    with pytest.raises(PictureError, match=what):
        normalised(file, pixels_max=PIXELS_MAX)
