"""Finds level and message in the formats the lab's daemons write: JSON, logfmt, PostgreSQL, nginx."""

from __future__ import annotations

import re

import orjson
from opentelemetry._logs import SeverityNumber

MESSAGE_MAX_CHARACTERS = 1024

_LOGFMT_LEVEL = re.compile(r'(?:^|\s)(?:level|lvl)="?(\w+)')
_LOGFMT_MESSAGE = re.compile(r'(?:^|\s)(?:msg|message)=(?:"((?:[^"\\]|\\.)*)"|(\S+))')
_POSTGRES = re.compile(
    r"\b(DEBUG[1-5]?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|STATEMENT|CONTEXT):\s+(.*)"
)
_NGINX = re.compile(r"^[\d/]{10} [\d:]{8} \[(\w+)\] (.*)")

# words of the daemons -> (one word for all, OpenTelemetry severity)
_LEVELS = {
    "trace": ("trace", SeverityNumber.TRACE),
    "debug": ("debug", SeverityNumber.DEBUG),
    "info": ("info", SeverityNumber.INFO),
    "log": ("info", SeverityNumber.INFO),
    "detail": ("info", SeverityNumber.INFO),
    "hint": ("info", SeverityNumber.INFO),
    "statement": ("info", SeverityNumber.INFO),
    "context": ("info", SeverityNumber.INFO),
    "notice": ("info", SeverityNumber.INFO2),
    "warn": ("warn", SeverityNumber.WARN),
    "warning": ("warn", SeverityNumber.WARN),
    "error": ("error", SeverityNumber.ERROR),
    "err": ("error", SeverityNumber.ERROR),
    "crit": ("fatal", SeverityNumber.ERROR3),
    "critical": ("fatal", SeverityNumber.ERROR3),
    "alert": ("fatal", SeverityNumber.FATAL),
    "emerg": ("fatal", SeverityNumber.FATAL),
    "fatal": ("fatal", SeverityNumber.FATAL),
    "panic": ("fatal", SeverityNumber.FATAL2),
}


def _words(line: str) -> tuple[str, str]:
    if line.startswith("{"):
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            return "", ""
        return str(record.get("level", "")), str(record.get("msg") or record.get("message") or "")
    if level := _LOGFMT_LEVEL.search(line):
        message = _LOGFMT_MESSAGE.search(line)
        return level[1], (message[1] or message[2] or "") if message else ""
    if match := _NGINX.match(line) or _POSTGRES.search(line):
        return match[1], match[2]
    return "", ""


def level_and_message(line: str) -> tuple[str | None, SeverityNumber | None, str | None]:
    """Return the level's common word, its severity number and the message, each None when not told."""
    word, message = _words(line)
    level, number = _LEVELS.get(word.lower().rstrip("12345"), (None, None))
    return level, number, message[:MESSAGE_MAX_CHARACTERS] or None
