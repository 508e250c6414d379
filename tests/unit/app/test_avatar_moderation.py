"""Scores and verdicts."""

from __future__ import annotations

import pytest
from PIL import Image

from app.avatars.moderation import CATEGORIES, Content, Policy, Scores
from app.avatars.moderation.lexicon import score_text
from app.avatars.moderation.simulated import SimulatedModerator, score_image
from app.avatars.settings import THRESHOLDS_DEFAULT
from tests.support.pictures import encoded

POLICY = Policy(THRESHOLDS_DEFAULT, 0.8)


def verdict(text: str) -> str | None:
    return POLICY.judge(SimulatedModerator().moderate(Content(text=text), key="k")).category


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("a lighthouse in the fog", None),
        ("murder in the library", "violence"),
        ("a nazi parade", "hate"),
        ("a naked dancer", "sexual"),
        ("i want to kill myself", "self_harm"),
        ("write to jane.doe@example.org", "personal_data"),
        ("card 4111 1111 1111 1111", "personal_data"),
        ("4111 1111 1111 1112 stars", None),  # no card: the last digit does not fit
        ("call +46 70 123 45 67", "personal_data"),
        ("19811218-9876", "personal_data"),
        ("SE45 5000 0000 0583 9825 7466", "personal_data"),
        # Disguises.
        ("MURDER", "violence"),
        ("murd3r", "violence"),
        ("m u r d e r", "violence"),
        ("m.u.r.d.e.r", "violence"),
        ("muuuuurder", "violence"),
        ("mur\u200bder", "violence"),
        ("m\u0443rder".replace("\u0443", "u\u0308"), "violence"),
        ("\uff4d\uff55\uff52\uff44\uff45\uff52", "violence"),  # full width
        ("n\u0430z\u0456 flag", "hate"),  # Cyrillic letters
        ("p0rn", "sexual"),
        ("\u217eurder dreams", None),
        # Innocents that contain such words, or say the opposite.
        ("a killer whale", None),
        ("the skyline of Essex and Scunthorpe", None),
        ("a skilled cyclist", None),
        ("a shooting star over the sea", None),
        ("a day against murder and torture", None),
        ("year 1984, room 101", None),
    ],
)
def test_words_are_judged_for_what_they_say(text: str, category: str | None) -> None:
    assert verdict(text) == category


def test_the_thresholds_decide() -> None:
    found = SimulatedModerator().moderate(Content(text="shoot the gun"), key="k")
    assert 0 < found.scores["violence"] < 0.6
    assert POLICY.judge(found).allowed
    strict = Policy({**THRESHOLDS_DEFAULT, "violence": 0.2}, 0.8).judge(found)
    assert (strict.category, strict.score) == ("violence", found.scores["violence"])


def test_a_score_at_its_threshold_is_too_much_and_the_worst_excess_is_named() -> None:
    quiet = dict.fromkeys(CATEGORIES, 0.0)
    assert POLICY.judge(Scores({**quiet, "violence": 0.6}, flagged=False, model="m", reference="r")).category
    both = Scores({**quiet, "violence": 0.7, "hate": 0.65}, flagged=False, model="m", reference="r")
    assert POLICY.judge(both).category == "hate"


def test_what_moderation_flags_is_rejected_whatever_its_scores_are() -> None:
    quiet = {**dict.fromkeys(CATEGORIES, 0.01), "sexual": 0.3}
    assert POLICY.judge(Scores(quiet, flagged=True, model="m", reference="r")).category == "sexual"


def test_categories_nobody_knows_here_count_too() -> None:
    found = Scores(
        {**dict.fromkeys(CATEGORIES, 0.0), "weapons": 0.9}, flagged=False, model="m", reference="r"
    )
    assert POLICY.judge(found).category == "weapons"


def test_more_of_it_scores_higher() -> None:
    scores = [
        score_text(text)["violence"] for text in ("tea", "a gun", "a gun and blood", "a bloody massacre")
    ]
    assert scores == sorted(scores)
    assert len(set(scores)) == 4


def test_the_longest_prompt_is_scored_fast() -> None:
    hard = ("1" * 300 + " ") * 3 + "m 0 $ " * 15
    assert all(0 <= score <= 1 for score in score_text(hard[:1000]).values())


def plain(colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (64, 64), colour)


def page() -> Image.Image:
    image = plain((255, 255, 255))
    for row in range(6, 58, 3):
        for column in range(6, 58, 3):
            image.putpixel((column, row), (0, 0, 0))
    return image


def flag() -> Image.Image:
    image = plain((220, 20, 30))
    image.paste((255, 255, 255), (18, 18, 46, 46))
    image.paste((0, 0, 0), (24, 24, 40, 40))
    return image


@pytest.mark.parametrize(
    ("image", "category"),
    [
        (plain((40, 110, 200)), None),
        (plain((60, 160, 70)), None),
        (plain((224, 172, 140)), "sexual"),
        (plain((120, 78, 56)), "sexual"),  # darker skin is skin as well
        (plain((130, 8, 10)), "violence"),
        (page(), "personal_data"),
        (flag(), "hate"),
    ],
)
def test_images_are_judged_by_what_can_be_measured(image: Image.Image, category: str | None) -> None:
    scores = score_image(encoded(image, "PNG"))
    assert set(scores) == set(CATEGORIES)
    assert POLICY.judge(Scores(scores, flagged=False, model="m", reference="r")).category == category, scores
