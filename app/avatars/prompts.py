"""What a prompt may be."""

from __future__ import annotations

import re
import unicodedata

CHARACTERS_MAX = 1000

# Tab and line breaks are spaces of a prompt; every other control character is a mistake or an attack.
_CONTROL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
# Soft hyphens, zero-width and direction marks, byte order marks, fillers: nobody sees them.
_UNSEEN = (
    r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
)
_SPACES = r"\x20\t\n\r\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
PATTERN = f"^[^{_CONTROL}]*[^{_CONTROL}{_UNSEEN}{_SPACES}][^{_CONTROL}]*$"
"""Published in the API's description: no control character, and something to be seen."""

_CONTROLS = re.compile(f"[{_CONTROL}]")
_VISIBLE = re.compile(f"[^{_UNSEEN}{_SPACES}]")


def checked(prompt: str) -> str:
    """Return the prompt as it is moderated and drawn. Raises ``ValueError``, which says what to correct."""
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text, without half of a surrogate pair") from None
    found = _CONTROLS.search(prompt)
    if found is not None:
        raise ValueError(f"must not contain control characters; U+{ord(found[0]):04X} is one")
    if _VISIBLE.search(prompt) is None:
        raise ValueError("must contain something that can be seen")
    # The same text typed on another keyboard is the same prompt.
    return " ".join(unicodedata.normalize("NFC", prompt).split())
