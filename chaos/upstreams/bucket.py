"""One bucket of an S3 server, as whoever delivers files into it sees it: put, list, delete.

The service has botocore for this; it would be most of the memory of a program as small as these.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import html
import http.client
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

from chaos.errors import LabError

REGION = "us-east-1"
TIMEOUT_SECONDS = 5.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024
PAGE_KEYS_MAX = 1000

_OK = (200, 204)
_CONFLICT = 409
_KEY = re.compile(r"<Key>([^<]*)</Key>")
_NEXT = re.compile(r"<NextContinuationToken>([^<]+)</NextContinuationToken>")


class BucketError(LabError):
    """The S3 server did not do what was asked. See its log: `lab logs seaweedfs`."""


@dataclass(frozen=True)
class Credentials:
    """Who asks."""

    access_key: str
    secret_key: str

    @classmethod
    def of_files(cls, access_key: Path, secret_key: Path) -> Credentials:
        """Read them. Raises ``OSError``."""
        return cls(access_key.read_text("utf-8").strip(), secret_key.read_text("utf-8").strip())


@dataclass(frozen=True)
class Request:
    """One call. ``path`` is percent-encoded."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def target(self) -> str:
        """What stands in the request line."""
        return self.path + (f"?{_query(self.query)}" if self.query else "")


def signed(request: Request, host: str, credentials: Credentials, now: dt.datetime) -> dict[str, str]:
    """Return the headers that AWS Signature Version 4 asks for."""
    moment, digest = now.strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(request.body).hexdigest()
    day = moment[:8]
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": moment}
    names = ";".join(headers)
    asked = "\n".join(
        (
            request.method,
            request.path,
            _query(request.query),
            *(f"{name}:{value}" for name, value in headers.items()),
            "",
            names,
            digest,
        )
    )
    scope = f"{day}/{REGION}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(asked.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (day, REGION, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return headers | {
        "authorization": f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    }


def _query(query: Mapping[str, str]) -> str:
    return urlencode(sorted(query.items()), quote_via=quote, safe="-_.~")


class Bucket:
    """Every call is one connection and ends in time. Raises ``BucketError`` for every failure."""

    def __init__(self, host: str, port: int, name: str, credentials: Credentials) -> None:
        self.name = name
        self._host, self._port = host, port
        self._credentials = credentials

    def create(self) -> None:
        """Make it, if it is not there."""
        self._call(Request("PUT", f"/{self.name}"), also=_CONFLICT)

    def put(self, key: str, body: bytes) -> str:
        """Store an object; return its ETag."""
        _, headers = self._call(Request("PUT", self._path(key), body=body))
        return headers.get("etag", "").strip('"')

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        self._call(Request("DELETE", self._path(key)))

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Return every key below a prefix, in their order."""
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(PAGE_KEYS_MAX)}
        while True:
            text = self._call(Request("GET", f"/{self.name}", query))[0].decode()
            yield from (html.unescape(key) for key in _KEY.findall(text))
            following = _NEXT.search(text)
            if following is None:
                return
            query["continuation-token"] = html.unescape(following[1])

    def _path(self, key: str) -> str:
        return f"/{self.name}/{quote(key, safe='/-_.~')}"

    def _call(self, request: Request, *, also: int | None = None) -> tuple[bytes, Mapping[str, str]]:
        what = f"{request.method} {request.target}"
        host = f"{self._host}:{self._port}"
        headers = signed(request, host, self._credentials, dt.datetime.now(dt.UTC))
        link = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            link.request(request.method, request.target, body=request.body, headers=headers)
            answer = link.getresponse()
            content = answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise BucketError(f"{what}: {error!r}") from error
        finally:
            link.close()
        if answer.status not in _OK and answer.status != also:
            raise BucketError(f"{what}: {answer.status} {content[:300].decode(errors='replace')}")
        return content, {name.lower(): value for name, value in answer.getheaders()}
