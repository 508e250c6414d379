"""Scores text by words and patterns, whatever disguise they wear. docs/howto/avatars.md explains it."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping

_WORDS: Mapping[str, Mapping[str, float]] = {
    "hate": {
        "nazi": 0.8, "neonazi": 0.9, "hitler": 0.7, "swastika": 0.85, "kkk": 0.8, "genocide": 0.6,
        "subhuman": 0.85, "untermensch": 0.9, "vermin": 0.35, "racist": 0.4, "supremacist": 0.7,
        "ethnic cleansing": 0.9, "white power": 0.9, "gas the": 0.8, "go back to your country": 0.8,
        "inferior race": 0.9, "hate all": 0.55, "i hate": 0.3,
    },
    "violence": {
        "kill": 0.5, "killing": 0.5, "murder": 0.7, "massacre": 0.8, "behead": 0.9, "beheaded": 0.9,
        "torture": 0.75, "stab": 0.6, "stabbing": 0.65, "shoot": 0.35, "shooting": 0.4, "gun": 0.3,
        "rifle": 0.3, "bomb": 0.5, "bombing": 0.6, "blood": 0.3, "bloody": 0.3, "gore": 0.7, "corpse": 0.5,
        "dismember": 0.9, "execute": 0.25, "terrorist": 0.65, "blow up": 0.5, "cut his throat": 0.9,
    },
    "sexual": {
        "porn": 0.9, "porno": 0.9, "pornographic": 0.9, "nsfw": 0.7, "nude": 0.65, "nudes": 0.75,
        "naked": 0.6, "erotic": 0.7, "sex": 0.5, "sexual": 0.5, "sexy": 0.4, "hentai": 0.8, "orgy": 0.85,
        "topless": 0.65, "genitals": 0.7, "lingerie": 0.4, "undressed": 0.5,
    },
    "self_harm": {
        "suicide": 0.75, "suicidal": 0.75, "self harm": 0.8, "selfharm": 0.8, "kill myself": 0.95,
        "cut myself": 0.9, "cutting myself": 0.9, "hang myself": 0.95, "end my life": 0.95,
        "want to die": 0.8,
        "overdose": 0.55, "starve myself": 0.8, "noose": 0.5,
    },
    "personal_data": {
        "passport number": 0.6, "social security": 0.5, "my password": 0.6, "home address": 0.4,
        "date of birth": 0.4, "credit card": 0.4, "my name is": 0.25, "phone number": 0.4,
    },
}  # fmt: skip
_INNOCENT = (
    "killer whale", "shooting star", "blood orange", "blood moon", "bath bomb", "cherry bomb", "water gun",
    "nail gun", "self portrait", "dressed to kill", "time to kill",
)  # fmt: skip
_SOFTENING = frozenset({"not", "no", "never", "without", "against", "anti", "prevent", "prevention", "stop"})
_SOFTENING_FACTOR = 0.5
_SOFTENING_REACH_WORDS = 3

# Small letters of other alphabets that look like ours, by code point: on a screen nobody tells them apart.
_LOOKALIKES = {
    code: letter
    for letter, codes in {
        "a": (0x430, 0x3B1, 0x251), "b": (0x432, 0x44C, 0x3B2), "c": (0x441, 0x3F2), "d": (0x501, 0x111),
        "e": (0x435, 0x3B5, 0x451), "g": (0x261,), "h": (0x43D, 0x4BB, 0x127), "i": (0x456, 0x131, 0x3B9),
        "j": (0x458,), "k": (0x43A, 0x3BA), "l": (0x142, 0x4CF), "m": (0x43C,), "n": (0x43F, 0x3B7, 0x578),
        "o": (0x43E, 0x3BF, 0xF8, 0x585), "p": (0x440, 0x3C1), "q": (0x51B,), "r": (0x433,), "s": (0x455,),
        "t": (0x442, 0x3C4, 0x167), "u": (0x438, 0x3C5, 0x57D), "v": (0x3BD, 0x475), "w": (0x51D, 0x3C9),
        "x": (0x445, 0x3C7), "y": (0x443, 0x4AF, 0x3B3),
    }.items()
    for code in codes
}  # fmt: skip
_LEET = {"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "@": "a", "$": "s", "!": "i"}
_LEET_VARIANTS_MAX = 16
_TOKEN = re.compile(r"[\w@$!]+")
_SPELLED = re.compile(r"(?<!\w)(?:\w[\s.\-_*]){2,}\w(?!\w)")

_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_CARD = re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_PHONE = re.compile(r"(?<![\w.])(?:\+|00)\d(?:[ ()/-]{0,2}\d){7,13}(?!\w)")
_PERSONAL_NUMBER = re.compile(
    r"(?<!\d)(?:19|20)?\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[-+]\d{4}(?!\d)"
)
_LUHN_BASE = 10
_IBAN_MODULUS = 97


def visible(text: str) -> str:
    """Return the text without characters that nobody sees."""
    return "".join(char for char in text if unicodedata.category(char) != "Cf")


def plain(text: str) -> str:
    """Return the text as it is read: one alphabet, no accents, small letters, nothing invisible."""
    folded = unicodedata.normalize("NFKC", visible(text)).casefold().translate(_LOOKALIKES)
    bare = unicodedata.normalize("NFD", folded)
    return "".join(char for char in bare if unicodedata.category(char) != "Mn")


def score_text(text: str) -> dict[str, float]:
    """Return a score from 0 to 1 for each category."""
    words = _words(plain(text))
    scores = {category: _combined(_hits(words, entries)) for category, entries in _WORDS.items()}
    scores["personal_data"] = _combined([scores["personal_data"], *_identifiers(visible(text))])
    return {category: round(score, 3) for category, score in scores.items()}


def _combined(weights: list[float]) -> float:
    left = 1.0
    for weight in weights:
        left *= 1.0 - weight
    return 1.0 - left


def _words(text: str) -> list[frozenset[str]]:
    """Return what each word may mean. Letters spelled out one by one are one word."""
    joined = _SPELLED.sub(lambda found: re.sub(r"[\s.\-_*]", "", found[0]), text)
    for phrase in _INNOCENT:
        joined = re.sub(rf"\b{phrase}s?\b", " ", joined)
    return [frozenset(_readings(token)) for token in _TOKEN.findall(joined.replace("-", " "))]


def _readings(token: str) -> Iterator[str]:
    token = token.strip("!") or token
    if not any(char.isalpha() for char in token):
        yield token
        return
    options = [_LEET.get(char, char) for char in token]
    for letters in itertools.islice(itertools.product(*options), _LEET_VARIANTS_MAX):
        word = "".join(letters)
        yield word
        yield re.sub(r"(.)\1{2,}", r"\1\1", word)
        once = re.sub(r"(.)\1+", r"\1", word)
        yield once
        yield once.removesuffix("s")


def _hits(words: list[frozenset[str]], entries: Mapping[str, float]) -> list[float]:
    found = []
    for entry, weight in entries.items():
        parts = entry.split()
        for start in range(len(words) - len(parts) + 1):
            if all(part in words[start + offset] for offset, part in enumerate(parts)):
                before = words[max(0, start - _SOFTENING_REACH_WORDS) : start]
                softened = any(readings & _SOFTENING for readings in before)
                found.append(weight * _SOFTENING_FACTOR if softened else weight)
    return found


def _identifiers(text: str) -> Iterator[float]:
    if _EMAIL.search(text):
        yield 0.8
    if any(_luhn(re.sub(r"\D", "", found[0])) for found in _CARD.finditer(text)):
        yield 0.95
    if any(_iban(found[0].replace(" ", "")) for found in _IBAN.finditer(text)):
        yield 0.9
    if _PHONE.search(text):
        yield 0.7
    if _PERSONAL_NUMBER.search(text):
        yield 0.85


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value  # noqa: PLR2004  the sum of its two digits
    return total % _LUHN_BASE == 0


def _iban(code: str) -> bool:
    moved = code[4:] + code[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % _IBAN_MODULUS == 1
