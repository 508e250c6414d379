from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from chaos.pager.store import NotificationStore, StoreError


def fill(store: NotificationStore, receiver: str, count: int, size_bytes: int = 10) -> None:
    for number in range(count):
        store.add(receiver, 1000.0 + number, {"text": "x" * size_bytes})


def everything(store: NotificationStore) -> list[dict[str, object]]:
    records, _ = store.find(None, 0.0, 1_000_000)
    return [json.loads(record) for record in records]


def test_the_newest_of_each_receiver_are_kept_and_the_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with NotificationStore(path, keep_per_receiver=20) as store:
        fill(store, "pager", 1)
        fill(store, "deadman", 500, size_bytes=1_000)
        kept = everything(store)
        assert Counter(item["receiver"] for item in kept) == {"deadman": 20, "pager": 1}
        assert [item["id"] for item in kept if item["receiver"] == "deadman"] == list(range(482, 502))
        assert path.stat().st_size < 120_000  # 500 kB were written

    with NotificationStore(path, keep_per_receiver=20) as store:
        assert everything(store) == kept
        assert store.add("pager", 5000.0, {}) == 502


def test_bytes_are_bounded_at_the_cost_of_the_receiver_that_uses_most(tmp_path: Path) -> None:
    with NotificationStore(tmp_path / "store", keep_bytes=200_000) as store:
        fill(store, "pager", 5)
        fill(store, "deadman", 100, size_bytes=10_000)
        kept = Counter(item["receiver"] for item in everything(store))
    assert kept["pager"] == 5
    assert 15 <= kept["deadman"] <= 20
    assert (tmp_path / "store").stat().st_size <= 300_000


def test_oldest_first_is_by_arrival_not_by_order_of_writing(tmp_path: Path) -> None:
    with NotificationStore(tmp_path / "store") as store:
        for received_unix in (3.0, 1.0, 2.0):
            store.add("pager", received_unix, {})
        assert [item["received_unix"] for item in everything(store)] == [1.0, 2.0, 3.0]
        records, more = store.find("pager", 2.0, 1)
        assert (len(records), more) == (1, True)


def test_an_unreadable_line_is_passed_over_and_ids_go_on(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with NotificationStore(path) as store:
        fill(store, "pager", 2)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "garbage\n[]\n" + lines[1])
    with NotificationStore(path) as store:
        assert [item["id"] for item in everything(store)] == [1, 2]
        assert store.add("pager", 1.0, {}) == 3


def test_an_interrupted_rewrite_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with NotificationStore(path) as store:
        fill(store, "pager", 2)
    path.with_name("store.new").write_text("half a rewri")
    with NotificationStore(path, keep_per_receiver=1) as store:
        fill(store, "pager", 100, size_bytes=2_000)
        assert [item["id"] for item in everything(store)] == [102]


def test_one_store_has_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with NotificationStore(path), pytest.raises(StoreError, match="Another pager"):
        NotificationStore(path)
    NotificationStore(path).close()
