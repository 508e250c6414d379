"""What Schemathesis must not do while it tests, and what it takes for a failure and is none."""

from __future__ import annotations

import os
from typing import Any

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.transport import Response

KEY_ID_VARIABLE = "TEST_KEY_ID"
ANOTHER_KEY_ID = "a" * 16


@schemathesis.hook
def before_call(
    _context: schemathesis.HookContext, case: schemathesis.Case[Any], _kwargs: dict[str, Any]
) -> None:
    """Let it revoke and rotate the keys that it makes, and not the one that it uses."""
    own = os.environ.get(KEY_ID_VARIABLE)
    if own is not None and case.path_parameters.get("key_id") == own:
        case.path_parameters["key_id"] = ANOTHER_KEY_ID


@schemathesis.hook
def filter_failure(
    _context: schemathesis.HookContext, failure: Failure, _case: schemathesis.Case[Any], _response: Response
) -> bool:
    """Keep all failures but one: headers that nobody knows are ignored, as HTTP wants it."""
    unknown_header = "in header - object with unexpected properties"
    return not (isinstance(failure, AcceptedNegativeData) and unknown_header in failure.message)
