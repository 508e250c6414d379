"""Reads the body of a request for an avatar: JSON with a prompt, or a form with an image."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from email.message import Message

import anyio
import anyio.to_thread
import orjson
from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.avatars.errors import (
    AvatarMediaTypeError,
    AvatarsBusyError,
    AvatarTooLargeError,
    AvatarUploadSlowError,
)
from app.avatars.pictures import PictureError, normalised
from app.avatars.repository import NewAvatar
from app.avatars.schemas import AvatarRequest
from app.errors import FieldError, InvalidRequestError
from app.settings import Settings

JSON_BYTES_MAX = 64 * 1024
FORM_OVERHEAD_BYTES_MAX = 16 * 1024
FORM_PARTS_MAX = 5
BODY_SECONDS_MAX = 30.0
DECODERS = 1  # images decoded at once: each may take as much memory as its pixels
DECODE_WAIT_SECONDS_MAX = 5.0
_FIELD = "image"


class Intake:
    """Turns requests into what is stored. Refuses with a ``DcsError`` that says what to correct."""

    def __init__(self, settings: Settings) -> None:
        self._file_bytes_max = settings.avatars_upload_bytes_max
        self._pixels_max = settings.avatars_upload_pixels_max
        self._decoders = anyio.CapacityLimiter(DECODERS)

    async def read(self, request: Request) -> NewAvatar:
        """Return what the request asks for."""
        media_type, charset = _content_type(request.headers)
        if charset not in (None, "utf-8", "utf8", "us-ascii"):
            raise AvatarMediaTypeError
        if media_type == "application/json":
            return _from_prompt(await _body(request, JSON_BYTES_MAX))
        if media_type == "multipart/form-data":
            body = await _body(request, self._file_bytes_max + FORM_OVERHEAD_BYTES_MAX)
            return await self._from_image(await _file(request.headers, body))
        raise AvatarMediaTypeError

    async def _from_image(self, file: bytes) -> NewAvatar:
        if len(file) > self._file_bytes_max:
            raise AvatarTooLargeError
        holder = object()
        with anyio.move_on_after(DECODE_WAIT_SECONDS_MAX) as waiting:
            await self._decoders.acquire_on_behalf_of(holder)
        if waiting.cancelled_caught:
            raise AvatarsBusyError
        try:
            upload = await anyio.to_thread.run_sync(
                lambda: normalised(file, pixels_max=self._pixels_max), limiter=anyio.CapacityLimiter(1)
            )
        except PictureError as exc:
            raise _invalid(_FIELD, str(exc)) from exc
        finally:
            self._decoders.release_on_behalf_of(holder)
        return NewAvatar(None, upload, hashlib.sha256(b"image\0" + upload).digest())


def _invalid(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(FieldError(field, message))


def _content_type(headers: Headers) -> tuple[str, str | None]:
    message = Message()
    message["Content-Type"] = headers.get("content-type", "")
    charset = message.get_param("charset")
    if "content-type" not in headers:
        return "", None
    return message.get_content_type(), charset.lower() if isinstance(charset, str) else None


async def _body(request: Request, bytes_max: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > bytes_max:
        raise AvatarTooLargeError
    body = bytearray()
    with anyio.move_on_after(BODY_SECONDS_MAX) as waiting:
        async for chunk in request.stream():
            body += chunk
            if len(body) > bytes_max:
                raise AvatarTooLargeError
    if waiting.cancelled_caught:
        raise AvatarUploadSlowError
    return bytes(body)


def _from_prompt(body: bytes) -> NewAvatar:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:  # also for what is not UTF-8, and for halves of surrogate pairs
        raise _invalid("body", f"is not JSON in UTF-8: {exc}") from exc
    try:
        prompt = AvatarRequest.model_validate(document).prompt
    except ValidationError as exc:
        errors = [
            FieldError(".".join(str(part) for part in error["loc"]) or "body", error["msg"])
            for error in exc.errors()
        ]
        raise InvalidRequestError(*errors) from exc
    return NewAvatar(prompt, None, hashlib.sha256(b"prompt\0" + prompt.encode()).digest())


async def _file(headers: Headers, body: bytes) -> bytes:
    """Return the one file of a form."""
    try:
        form = await _form(headers, body)
    except (MultiPartException, ValueError, LookupError) as exc:
        raise _invalid("body", f"is no valid form: {exc}") from exc
    try:
        return await _only_file(form)
    finally:
        await form.close()


async def _only_file(form: FormData) -> bytes:
    unknown = sorted({name for name, _ in form.multi_items() if name != _FIELD})
    if unknown:
        raise InvalidRequestError(*(FieldError(name[:100], "Unknown part; use image") for name in unknown))
    files = form.getlist(_FIELD)
    if not files:
        raise _invalid(_FIELD, "Part required")
    if len(files) > 1:
        raise _invalid(_FIELD, f"One file at a time; there are {len(files)}")
    if not isinstance(files[0], UploadFile):
        raise _invalid(_FIELD, "Must be a file: the part needs a file name")
    return await files[0].read()


async def _form(headers: Headers, body: bytes) -> FormData:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(headers, once(), max_files=FORM_PARTS_MAX, max_fields=FORM_PARTS_MAX)
    parser.spool_max_size = len(body) + 1  # it is in memory already; a file on disk would not make it less
    return await parser.parse()
