from __future__ import annotations

import pytest

from chaos.forwarder.levels import MESSAGE_MAX_CHARACTERS, level_and_message


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        ('level=warn ts=2026 caller=x.go msg="slow \\"query\\""', "warn", 'slow \\"query\\"'),
        ("time=2026-01-02T03:04:05Z level=ERROR source=a.go:1 msg=gone", "error", "gone"),
        ('{"level":"info","message":"Accepted client","proxy":"redis"}', "info", "Accepted client"),
        ('{"status":200,"uri":"/"}', None, None),
        (
            "2026-01-02 03:04:05.678 UTC [9] LOG:  database system is ready",
            "info",
            "database system is ready",
        ),
        (
            "2026-01-02 UTC [9] FATAL:  the database system is starting up",
            "fatal",
            "the database system is starting up",
        ),
        ("2026-01-02 UTC [9] PANIC:  could not write", "fatal", "could not write"),
        ("2026/01/02 03:04:05 [warn] 7#7: *1 buffered", "warn", "7#7: *1 buffered"),
        ("9:M 02 Jan 2026 03:04:05.678 * Ready to accept connections", None, None),
        ("an ERROR without its colon", None, None),
        ("{not json level=info", None, None),
        ("{", None, None),
        ('{"level":5,"msg":{"a":1}}', None, "{'a': 1}"),
    ],
)
def test_level_and_message(line: str, level: str | None, message: str | None) -> None:
    found_level, number, found_message = level_and_message(line)
    assert found_level == level
    assert (number is None) == (level is None)
    assert found_message == message


def test_a_message_is_bounded() -> None:
    _, _, message = level_and_message('{"level":"info","msg":"' + "x" * 5_000 + '"}')
    assert message == "x" * MESSAGE_MAX_CHARACTERS
