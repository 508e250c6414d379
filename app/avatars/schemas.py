"""What clients send and get."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, StrictStr

from app.avatars import prompts

PAGE_LIMIT_DEFAULT = 50
PAGE_LIMIT_MAX = 100
CURSOR_CHARACTERS_MAX = 200


class AvatarRequest(BaseModel):
    """A prompt to draw an avatar from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Annotated[StrictStr, AfterValidator(prompts.checked)] = Field(
        min_length=1,
        max_length=prompts.CHARACTERS_MAX,
        description="Any text with something to be seen in it. Runs of spaces count as one.",
        examples=["a lighthouse in the fog"],
        json_schema_extra={"pattern": prompts.PATTERN},
    )


REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": AvatarRequest.model_json_schema()},
        "multipart/form-data": {
            "schema": {
                "title": "AvatarUpload",
                "description": "An image to make an avatar of.",
                "type": "object",
                "additionalProperties": False,
                "required": ["image"],
                "properties": {
                    "image": {
                        "type": "string",
                        "format": "binary",
                        "description": "A still PNG, JPEG or WebP image; the content decides, not the name.",
                    }
                },
            },
            "encoding": {"image": {"contentType": "image/png, image/jpeg, image/webp"}},
        },
    },
}
"""Of the request, which FastAPI cannot describe: there are two kinds of it."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class AvatarState(enum.StrEnum):
    """Where an avatar is. Between two attempts it is ``queued`` again."""

    QUEUED = "queued"
    MODERATING = "moderating"
    GENERATING = "generating"
    READY = "ready"
    REJECTED = "rejected"
    FAILED = "failed"


class AvatarInput(enum.StrEnum):
    """What an avatar is made of."""

    PROMPT = "prompt"
    IMAGE = "image"


class ImageFormat(enum.StrEnum):
    """How an image may be had."""

    PNG = "png"
    SVG = "svg"


class AvatarAccepted(_Answer):
    """The avatar is stored and will be moderated and made."""

    job_id: UUID
    status: AvatarState
    status_url: str = Field(examples=["/api/v1/avatars/0f6cd5a5-4d2f-4e8e-9b0e-3f5f3c1f4f64"])
    _replayed: bool = PrivateAttr(default=False)

    @property
    def replayed(self) -> bool:
        """Whether an earlier request with the same idempotency key stored it."""
        return self._replayed

    def as_replayed(self) -> Self:
        """Return the same, said again."""
        self._replayed = True
        return self


class AvatarRejection(_Answer):
    """Why moderation did not allow it."""

    category: str = Field(examples=["violence"], description="The one whose threshold was exceeded most.")
    score: float = Field(ge=0, le=1, examples=[0.91])


class AvatarFailure(_Answer):
    """Why the last attempt failed."""

    reason: str = Field(examples=["moderation_timeout"])
    message: str


class AvatarStatus(_Answer):
    """Where an avatar is."""

    job_id: UUID
    status: AvatarState
    input: AvatarInput
    avatar_url: str | None = Field(
        description="Where the image is, once it is ready.",
        examples=["/api/v1/avatars/0f6cd5a5-4d2f-4e8e-9b0e-3f5f3c1f4f64/image"],
    )
    rejection: AvatarRejection | None = Field(description="With status `rejected`.")
    error: AvatarFailure | None = Field(description="Of the last attempt; with `queued` another will follow.")
    attempt: int = Field(description="Attempts so far, the running one included.")
    created_at: datetime
    finished_at: datetime | None


class AvatarPage(_Answer):
    """Avatars, the newest first."""

    avatars: list[AvatarStatus]
    next_cursor: str | None = Field(description="Pass as `cursor` to get older ones; null on the last page.")
