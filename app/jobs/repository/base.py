"""What the modules of the repository share."""

from __future__ import annotations

import orjson
from sqlalchemy import Connection


class Queries:
    """Queries on a connection; who made it decides about the transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection


def error_document(reason: str, message: str) -> str:
    """Return what is kept of a failure, as JSON that PostgreSQL can hold."""
    storable = message.replace("\0", "").encode(errors="replace").decode()  # no half of a surrogate pair
    return orjson.dumps({"reason": reason, "message": storable[:2000]}).decode()
