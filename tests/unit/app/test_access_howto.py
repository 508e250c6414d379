"""The page on access shows code: it is the service's own way of signing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from app.access import signing

PAGE = Path(__file__).resolve().parents[3] / "docs" / "howto" / "access.md"


def test_the_page_signs_as_the_service_checks() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102  it is ours
    request = {"method": "POST", "target": "/api/v1/jobs?x=1", "timestamp": "1795844212", "nonce": "n" * 16}
    shown = names["signature"]("secret", body=b"{}", **request)
    assert shown == "v1=" + signing.sign("secret", body=b"{}", **request)
