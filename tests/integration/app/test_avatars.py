"""Avatars from prompt or upload to image, as clients see them."""

from __future__ import annotations

import io
import json
from typing import Any

import psycopg2.errors
import pytest
from PIL import Image

from tests.support.avatars import PATH, ended, post, request
from tests.support.pictures import animated, bomb, photo, picture
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess


def made_from(api: ServiceProcess, prompt: str) -> dict[str, Any]:
    accepted = post(api, json={"prompt": prompt})
    assert accepted.status_code == 202, accepted.text
    return ended(api, accepted.json()["job_id"])


def test_a_prompt_becomes_an_image(api: ServiceProcess, worker: ServiceProcess) -> None:
    before = worker.metric("dcs_avatars_total", outcome="ready")
    accepted = post(api, json={"prompt": "a lighthouse in the fog"})
    assert accepted.status_code == 202
    body = accepted.json()
    assert body["status"] == "queued"
    assert accepted.headers["location"] == body["status_url"] == f"{PATH}/{body['job_id']}"
    status = ended(api, body["job_id"])
    assert (status["status"], status["input"], status["error"]) == ("ready", "prompt", None)
    assert status["avatar_url"] == f"{PATH}/{body['job_id']}/image"
    image = request(api, "GET", status["avatar_url"])
    assert image.headers["content-type"] == "image/png"
    assert "immutable" in image.headers["cache-control"]
    with Image.open(io.BytesIO(image.content)) as opened:
        assert (opened.format, opened.size) == ("PNG", (256, 256))
    assert worker.metric("dcs_avatars_total", outcome="ready") == before + 1


def test_an_upload_becomes_its_own_avatar(api: ServiceProcess, worker: ServiceProcess) -> None:
    accepted = post(api, files={"image": ("me.txt", picture("JPEG", (300, 200)), "text/plain")})
    assert accepted.status_code == 202, accepted.text
    status = ended(api, accepted.json()["job_id"])
    assert (status["status"], status["input"]) == ("ready", "image")
    with Image.open(io.BytesIO(request(api, "GET", status["avatar_url"]).content)) as opened:
        assert (opened.format, opened.size) == ("PNG", (256, 256))
        centre = opened.getpixel((200, 200))
    assert isinstance(centre, tuple)
    assert abs(centre[2] - 200) < 12
    drawn = request(api, "GET", f"{status['avatar_url']}?format=svg")
    assert drawn.headers["content-type"].startswith("image/svg+xml")
    assert b"data:image/png;base64," in drawn.content


def test_the_same_prompt_is_the_same_image_and_never_changes(
    api: ServiceProcess, worker: ServiceProcess
) -> None:
    calls = worker.metric("dcs_moderation_requests_total", outcome="ok")
    first, again, other = (made_from(api, prompt) for prompt in ("a fox  ", "a fox", "a fix"))
    images = [request(api, "GET", one["avatar_url"]) for one in (first, again, other)]
    assert images[0].content == images[1].content != images[2].content
    assert images[0].headers["etag"] == images[1].headers["etag"] != images[2].headers["etag"]
    assert worker.metric("dcs_moderation_requests_total", outcome="ok") == calls + 2, "scores were used again"
    for tag in (images[0].headers["etag"], f'"x", W/{images[0].headers["etag"]}', "*"):
        known = request(api, "GET", first["avatar_url"], headers={"If-None-Match": tag})
        assert (known.status_code, known.content) == (304, b"")
        assert known.headers["etag"] == images[0].headers["etag"]
    svg = request(api, "GET", f"{first['avatar_url']}?format=svg")
    assert svg.headers["etag"] != images[0].headers["etag"]
    assert svg.text.startswith("<svg")
    assert "sandbox" in svg.headers["content-security-policy"]
    assert request(api, "GET", f"{first['avatar_url']}?format=gif").status_code == 422


def test_what_moderation_does_not_allow_has_a_category_and_no_image(
    api: ServiceProcess, worker: ServiceProcess, postgres: PostgresServer, database_name: str
) -> None:
    before = worker.metric("dcs_avatars_rejected_total", category="violence")
    status = made_from(api, "a bloody massacre")
    assert status["status"] == "rejected"
    assert status["rejection"]["category"] == "violence"
    assert 0.6 < status["rejection"]["score"] <= 1
    assert (status["avatar_url"], status["error"]) == (None, None)
    answer = request(api, "GET", f"{PATH}/{status['job_id']}/image")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:dcs:problem:avatar-without-image")
    assert worker.metric("dcs_avatars_rejected_total", category="violence") == before + 1
    accepted = post(api, files={"image": ("a.png", picture(colour=(130, 8, 10)))})
    rejected = ended(api, accepted.json()["job_id"])
    assert (rejected["status"], rejected["rejection"]["category"]) == ("rejected", "violence")
    kept = f"SELECT upload FROM avatars WHERE job_id = '{rejected['job_id']}'"  # noqa: S608
    assert postgres.rows(kept, database_name) == [(None,)], "nobody keeps what was not allowed"


def test_the_table_itself_refuses_an_image_without_a_verdict(
    api: ServiceProcess, worker: ServiceProcess, postgres: PostgresServer, database_name: str
) -> None:
    job_id = made_from(api, "i want to murder")["job_id"]
    for verdict in ("verdict", "NULL", "'{}'", "'null'", """'{"allowed": "true"}'"""):
        moment = "NULL" if verdict == "NULL" else "moderated_at"
        with pytest.raises(psycopg2.errors.CheckViolation, match="avatars_moderated"):
            postgres.execute(
                "UPDATE avatars SET stage = 'ready', image = 'x', "  # noqa: S608
                f"verdict = {verdict}, moderated_at = {moment} WHERE job_id = '{job_id}'",
                database_name,
            )


def test_nobody_else_sees_it(api: ServiceProcess, worker: ServiceProcess) -> None:
    accepted = post(api, json={"prompt": "ours"}, client="acme")
    path = accepted.json()["status_url"]
    for suffix in ("", "/image", "/image?format=svg"):
        answer = request(api, "GET", path + suffix, client="globex")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:dcs:problem:avatar-not-found")
    listed = request(api, "GET", PATH, client="globex").json()
    assert accepted.json()["job_id"] not in json.dumps(listed)
    assert request(api, "GET", path, client="acme").status_code == 200


def test_scores_of_one_client_are_not_used_for_another(api: ServiceProcess, worker: ServiceProcess) -> None:
    reused = worker.metric("dcs_avatars_verdicts_reused_total")
    for client in ("acme", "globex", "acme"):
        job_id = post(api, json={"prompt": "shared words"}, client=client).json()["job_id"]
        assert ended(api, job_id, client=client)["status"] == "ready"
    assert worker.metric("dcs_avatars_verdicts_reused_total") == reused + 1


def test_a_list_comes_in_pages_the_newest_first(api: ServiceProcess) -> None:
    made = [post(api, json={"prompt": f"page {n}"}, client="other").json()["job_id"] for n in range(5)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = request(api, "GET", PATH, client="other", params=params).raise_for_status().json()
        assert len(page["avatars"]) <= 2
        seen += [avatar["job_id"] for avatar in page["avatars"]]
        cursor = page["next_cursor"]
    assert seen == made[::-1]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "MjAyNg==", "/" * 300, "MjAyNi0xMS0yMiB4"])
def test_a_cursor_of_nobody_is_refused(api: ServiceProcess, cursor: str) -> None:
    assert request(api, "GET", PATH, params={"cursor": cursor}).status_code == 422


def test_a_key_stands_for_one_request(api: ServiceProcess) -> None:
    key = {"Idempotency-Key": "avatar-1"}
    first = post(api, json={"prompt": "keyed"}, headers=key)
    again = post(api, json={"prompt": "keyed"}, headers=key)
    assert again.json()["job_id"] == first.json()["job_id"]
    assert again.headers["idempotency-replayed"] == "true"
    other = post(api, json={"prompt": "another"}, headers=key)
    assert (other.status_code, other.json()["type"]) == (409, "urn:dcs:problem:idempotency-key-reused")
    upload = post(api, files={"image": ("a.png", picture())}, headers=key)
    assert upload.status_code == 409


JSON = "application/json"
BOUNDARY = "multipart/form-data; boundary=b"


def form(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    return (
        b"".join(
            b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"
            for head, data in parts
        )
        + end
    )


FILE = 'name="image"; filename="a.png"'


@pytest.mark.parametrize(
    ("content_type", "body", "status", "field"),
    [
        (JSON, b"", 422, "body"),
        (JSON, b"null", 422, "body"),
        (JSON, b"[]", 422, "body"),
        (JSON, b'"a fox"', 422, "body"),
        (JSON, b'{"prompt": ', 422, "body"),
        (JSON, b"\xff\xfe", 422, "body"),
        (JSON, b'{"prompt": "caf\xe9"}', 422, "body"),  # Latin-1
        (JSON, b'{"prompt": "\xed\xa0\x80"}', 422, "body"),  # a surrogate in UTF-8
        (JSON, rb'{"prompt": "\ud800"}', 422, "body"),
        (JSON, b"[" * 5000, 422, "body"),
        (JSON, b'{"prompt": 1e999}', 422, None),
        (JSON, b"{}", 422, "prompt"),
        (JSON, b'{"prompt": null}', 422, "prompt"),
        (JSON, b'{"prompt": 7}', 422, "prompt"),
        (JSON, b'{"prompt": true}', 422, "prompt"),
        (JSON, b'{"prompt": ["a"]}', 422, "prompt"),
        (JSON, b'{"prompt": ""}', 422, "prompt"),
        (JSON, b'{"prompt": "  "}', 422, "prompt"),
        (JSON, rb'{"prompt": "\u200b"}', 422, "prompt"),
        (JSON, rb'{"prompt": "a\u0000b"}', 422, "prompt"),
        (JSON, rb'{"prompt": "a\u0007b"}', 422, "prompt"),
        (JSON, b'{"prompt": "a\x07b"}', 422, "body"),
        (JSON, json.dumps({"prompt": "x" * 1000}).encode(), 202, None),
        (JSON, json.dumps({"prompt": "x" * 1001}).encode(), 422, "prompt"),
        (JSON, json.dumps({"prompt": "\U0001f98a" * 1000}).encode(), 202, None),
        (JSON, json.dumps({"prompt": "x" * 70_000}).encode(), 413, None),
        (JSON, b'{"prompt": "a", "colour": "red"}', 422, "colour"),
        (f"{JSON}; charset=UTF-8", b'{"prompt": "a"}', 202, None),
        (f"{JSON}; charset=latin-1", b'{"prompt": "a"}', 415, None),
        ("", b'{"prompt": "a"}', 415, None),
        ("text/plain", b"a fox", 415, None),
        ("image/png", picture(), 415, None),
        ("application/x-www-form-urlencoded", b"prompt=a", 415, None),
        ("nonsense", b"", 415, None),
        ("multipart/form-data", form((FILE, picture())), 422, "body"),
        (BOUNDARY, b"", 422, None),
        (BOUNDARY, b"not a form", 422, "body"),
        (BOUNDARY, form(), 422, "image"),
        (BOUNDARY, form((FILE, picture())), 202, None),
        (BOUNDARY, form((FILE, picture()), end=b""), 422, "image"),  # cut short
        (BOUNDARY, form(('name="image"', picture())), 422, "image"),
        (BOUNDARY, form(('name="prompt"', b"a fox")), 422, "prompt"),
        (BOUNDARY, form((FILE, picture()), ('name="prompt"', b"a fox")), 422, "prompt"),
        (BOUNDARY, form((FILE, picture()), (FILE, picture())), 422, "image"),
        (BOUNDARY, form(*[(FILE, picture())] * 9), 422, "body"),
        (BOUNDARY, form(("filename=a.png", picture())), 422, "body"),
        (BOUNDARY, form((FILE, b"")), 422, "image"),
        (BOUNDARY, form((FILE, b"\x89PNG\r\n\x1a\n")), 422, "image"),
        (BOUNDARY, form((FILE, photo()[:3000])), 422, "image"),
        (BOUNDARY, form((FILE, b"<?php system($_GET[0]);")), 422, "image"),
        (BOUNDARY, form((FILE, animated("PNG"))), 422, "image"),
        (BOUNDARY, form((FILE, animated("WEBP"))), 422, "image"),
        (BOUNDARY, form((FILE, bomb())), 422, "image"),
        (BOUNDARY, form((FILE, bytes(2_200_000))), 413, None),
    ],
)
def test_each_odd_input_has_its_answer(
    api: ServiceProcess, content_type: str, body: bytes, status: int, field: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = post(api, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    if status != 202:
        assert answer.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_body_without_a_length_is_cut_off_too(api: ServiceProcess) -> None:
    chunks = (b"x" * 50_000 for _ in range(100))
    answer = post(api, content=chunks, headers={"Content-Type": JSON})
    assert answer.status_code == 413


def test_the_api_s_description_has_both_kinds_of_request(api: ServiceProcess) -> None:
    described = request(api, "GET", "/openapi.json").json()["paths"][PATH]["post"]
    assert set(described["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    assert {"202", "409", "413", "415", "422", "429", "503"} <= set(described["responses"])
