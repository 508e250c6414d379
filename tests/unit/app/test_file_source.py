from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from app.sources import BYTES_MAX, RECORDS_MAX, SourceError, SourceRefusedError
from app.sources.file import FileConfig, FileSource


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "acme").mkdir(parents=True)
    (tmp_path / "secret.csv").write_text("a\n1\n")
    return root


def collect(root: Path, path: str) -> list[dict[str, object]]:
    return [dict(record) for record in FileSource(root).collect(FileConfig(path=path))]


def test_csv_rows_are_records(root: Path) -> None:
    (root / "acme" / "assets.csv").write_text('\ufeffid,name\n1,gateway\n2,"router, old"\n', encoding="utf-8")
    assert collect(root, "acme/assets.csv") == [
        {"id": "1", "name": "gateway"},
        {"id": "2", "name": "router, old"},
    ]


def test_json_lines_are_records(root: Path) -> None:
    (root / "x.jsonl").write_text('{"id": 1}\n\n{"id": 2, "tags": ["a"]}\n')
    assert collect(root, "x.jsonl") == [{"id": 1}, {"id": 2, "tags": ["a"]}]


@pytest.mark.parametrize(
    "path",
    [
        "../secret.csv",
        "acme/../../secret.csv",
        "/etc/passwd.csv",
        "acme//x.csv",
        "./x.csv",
        "acme/..",
        "x.csv\0.csv",
        "..\\secret.csv",
        "acme/x.txt",
        "acme",
    ],
)
def test_a_path_that_is_not_plain_is_refused(root: Path, path: str) -> None:
    with pytest.raises(SourceRefusedError) as refused:
        FileSource(root).check(FileConfig(path=path))
    assert refused.value.field == "path"
    assert refused.value.event == "source_path_refused"


def test_links_are_refused_wherever_they_are(root: Path, tmp_path: Path) -> None:
    (root / "real").mkdir()
    (root / "real" / "x.csv").write_text("a\n1\n")
    (root / "out.csv").symlink_to(tmp_path / "secret.csv")
    (root / "up").symlink_to(tmp_path)
    (root / "inside").symlink_to(root / "real")
    (root / "inside.csv").symlink_to(root / "real" / "x.csv")
    for path in ("out.csv", "up/secret.csv", "inside/x.csv", "inside.csv"):
        with pytest.raises(SourceRefusedError):
            FileSource(root).check(FileConfig(path=path))
        with pytest.raises(SourceRefusedError):
            collect(root, path)
    assert collect(root, "real/x.csv") == [{"a": "1"}]


def test_links_that_lead_in_a_circle_are_refused(root: Path) -> None:
    (root / "one.csv").symlink_to(root / "two.csv")
    (root / "two.csv").symlink_to(root / "one.csv")
    (root / "ring").symlink_to(root / "ring")
    for path in ("one.csv", "ring/x.csv"):
        with pytest.raises(SourceRefusedError) as refused:
            FileSource(root).check(FileConfig(path=path))
        assert (refused.value.field, refused.value.event) == ("path", "source_path_refused")


def test_a_link_put_there_after_the_check_is_not_followed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "out.csv").symlink_to(tmp_path / "secret.csv")
    # As if the name had still been a plain file when its real path was worked out.
    monkeypatch.setattr(Path, "resolve", lambda self: self)
    with pytest.raises(SourceRefusedError, match="link"):
        collect(root, "out.csv")


def test_a_pipe_is_refused_without_waiting_for_its_writer(root: Path) -> None:
    os.mkfifo(root / "pipe.csv")
    started = time.monotonic()
    with pytest.raises(SourceRefusedError, match="regular"):
        collect(root, "pipe.csv")
    assert time.monotonic() - started < 1


def test_a_directory_is_refused(root: Path) -> None:
    (root / "folder.csv").mkdir()
    with pytest.raises(SourceRefusedError, match="regular"):
        collect(root, "folder.csv")


def test_a_file_as_a_directory_is_refused(root: Path) -> None:
    (root / "x.csv").write_text("a\n")
    with pytest.raises(SourceRefusedError):
        collect(root, "x.csv/y.csv")


def test_a_missing_file_is_accepted_and_then_fails_for_good(root: Path) -> None:
    FileSource(root).check(FileConfig(path="later.csv"))
    with pytest.raises(SourceError) as missing:
        collect(root, "later.csv")
    assert (missing.value.reason, missing.value.retryable) == ("not_found", False)


def test_without_a_root_everything_is_refused() -> None:
    with pytest.raises(SourceRefusedError, match="no file root"):
        FileSource(None).check(FileConfig(path="x.csv"))


def test_a_root_that_is_away_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as away:
        collect(tmp_path / "unmounted", "x.csv")
    assert away.value.retryable


CONTENTS = [
    ("short.csv", b"a,b\n1\n", "malformed"),
    ("long.csv", b"a,b\n1,2,3\n", "malformed"),
    ("twice.csv", b"id,name,id\n1,a,2\n", "malformed"),
    ("quote.csv", b'a,b\n"1,2\n', "malformed"),
    ("latin.csv", b"a\n\xff\n", "not_utf8"),
    ("broken.jsonl", b'{"a": 1}\n{"a": \n', "malformed"),
    ("array.jsonl", b"[1]\n", "malformed"),
    ("huge.csv", b"a\n" + b"x" * BYTES_MAX, "too_much"),
    ("many.jsonl", b"{}\n" * (RECORDS_MAX + 1), "too_much"),
]


@pytest.mark.parametrize(
    ("name", "content", "reason"), CONTENTS, ids=[f"{name} {reason}" for name, _, reason in CONTENTS]
)
def test_what_cannot_be_read_fails_for_good(root: Path, name: str, content: bytes, reason: str) -> None:
    (root / name).write_bytes(content)
    with pytest.raises(SourceError) as failed:
        collect(root, name)
    assert (failed.value.reason, failed.value.retryable) == (reason, False)


def test_no_descriptor_is_left_open(root: Path) -> None:
    (root / "x.csv").write_text("a\n1\n")
    (root / "folder.csv").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("x.csv", "folder.csv", "acme/none.csv", "../x.csv"):
        try:
            collect(root, path)
        except (SourceError, SourceRefusedError):
            continue
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1", "cp1252"])
def test_another_encoding_is_named_and_not_guessed(root: Path, encoding: str) -> None:
    bom = {"utf-16-le": b"\xff\xfe"}.get(encoding, b"")
    (root / "x.csv").write_bytes(bom + "id,name\n1,größe\n".encode(encoding))
    with pytest.raises(SourceError) as failed:
        collect(root, "x.csv")
    assert (failed.value.reason, failed.value.retryable) == ("not_utf8", False)
    assert ("UTF-16" in str(failed.value)) == encoding.startswith("utf-16")


def test_a_name_swapped_for_a_link_again_and_again_never_leads_outside(root: Path, tmp_path: Path) -> None:
    (root / "x.csv").write_text("a\nmine\n")
    (root / "acme" / "x.csv").write_text("a\nmine\n")
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "x.csv").write_text("a\nsecret\n")
    stopping = threading.Event()

    def swap() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            plain, link = root / f"plain{number}", root / f"link{number}"
            plain.write_text("a\nmine\n")
            link.symlink_to(tmp_path / "secret.csv")
            link.replace(root / "x.csv")
            plain.replace(root / "x.csv")
            (root / "acme").rename(root / "kept")
            (root / "acme").symlink_to(tmp_path / "acme")
            (root / "acme").unlink()
            (root / "kept").rename(root / "acme")

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen = set()
    try:
        for _ in range(400):
            for path in ("x.csv", "acme/x.csv"):
                try:
                    seen.add(collect(root, path)[0]["a"])
                except (SourceRefusedError, SourceError):
                    continue
    finally:
        stopping.set()
        swapping.join(10)
    assert seen == {"mine"}


def test_the_environment_of_this_process_cannot_be_read(root: Path) -> None:
    (root / "environ.csv").symlink_to("/proc/self/environ")
    (root / "self").symlink_to("/proc/self")
    for path in ("environ.csv", "self/environ.csv", "../../../../proc/self/environ", "/proc/self/environ"):
        with pytest.raises(SourceRefusedError):
            collect(root, path)
