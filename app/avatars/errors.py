"""Errors of avatars."""

from __future__ import annotations

from typing import ClassVar

from app.errors import DcsError


class AvatarNotFoundError(DcsError):
    """No avatar has this id. Use the `job_id` that the request for the avatar returned."""

    status_code = 404
    title = "No such avatar"
    slug = "avatar-not-found"


class AvatarUnfinishedError(DcsError):
    """The avatar is not ready. Ask for its status until it is, then for its image."""

    status_code = 409
    title = "The avatar is not ready"
    slug = "avatar-unfinished"
    retry_after_seconds = 1


class AvatarWithoutImageError(DcsError):
    """The avatar was rejected or has failed, so it has no image. Its status says why."""

    status_code = 404
    title = "The avatar has no image"
    slug = "avatar-without-image"


class AvatarTooLargeError(DcsError):
    """The request is larger than an avatar's may be. Send a shorter prompt or a smaller image file."""

    status_code = 413
    title = "The request is too large"
    slug = "avatar-too-large"


class AvatarMediaTypeError(DcsError):
    """Send a prompt as `application/json` in UTF-8, or an image file as `multipart/form-data`."""

    status_code = 415
    title = "The media type is not supported"
    slug = "avatar-media-type"


class AvatarUploadSlowError(DcsError):
    """The request took too long to arrive. Send it again over a faster connection."""

    status_code = 408
    title = "The request took too long"
    slug = "avatar-upload-slow"


class AvatarsBusyError(DcsError):
    """Too many images are being read at this moment, and nothing was stored. Send the request again."""

    status_code = 503
    title = "Too many images at once"
    slug = "avatars-busy"
    retry_after_seconds: ClassVar[int | None] = 1
