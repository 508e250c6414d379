"""What one client has, another cannot tell from what nobody has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.settings import Settings
from app.sources import SourceError, SourceRefusedError
from app.sources.catalogue import Catalogue, SourceSpec, catalogue
from app.sources.file import FileConfig, FileSource

SPEC: TypeAdapter[SourceSpec] = TypeAdapter(SourceSpec)
HOST = {"host": "127.0.0.1", "name": "x", "user": "reader"}
DATABASES: dict[str, dict[str, Any]] = {
    "of-acme": HOST | {"clients": ["acme", "acme-eu"]},
    "of-globex": HOST | {"clients": ["globex"]},
    "of-all": HOST,
    "of-nobody": HOST | {"clients": []},
}


@pytest.fixture
def sources() -> Catalogue:
    return catalogue(
        Settings.model_validate(
            {"client_databases": DATABASES, "sources_allow": ["postgresql://127.0.0.1:5432"]}
        )
    )


def database(name: str) -> SourceSpec:
    config = {"database": name, "query": "open_findings"}
    return SPEC.validate_python({"source_type": "database", "config": config})


def refusal(sources: Catalogue, name: str, client: str, *, collecting: bool) -> str:
    ask = sources.collect if collecting else sources.check
    with pytest.raises(SourceRefusedError) as refused:
        ask(database(name), client_id=client)
    assert refused.value.field == "database"
    return str(refused.value)


@pytest.mark.parametrize("collecting", [False, True], ids=["asked", "collected"])
@pytest.mark.parametrize(
    ("client", "own"),
    [("acme", "of-acme, of-all"), ("globex", "of-all, of-globex"), ("other", "of-all"), ("", "of-all")],
)
def test_a_database_of_another_client_is_as_unknown_as_one_that_is_not(
    sources: Catalogue, client: str, own: str, *, collecting: bool
) -> None:
    foreign = {"of-acme", "of-globex", "of-nobody"} - set(own.split(", "))
    told = {refusal(sources, name, client, collecting=collecting) for name in (*foreign, "of-none")}
    assert told == {f"unknown database; configured are: {own}"}


def test_a_database_is_of_the_clients_it_names_or_of_all(sources: Catalogue) -> None:
    for client, name in (("acme", "of-acme"), ("acme-eu", "of-acme"), ("globex", "of-globex")):
        sources.check(database(name), client_id=client)
        sources.check(database("of-all"), client_id=client)


@pytest.mark.parametrize("clients", [["*"], ["Acme"], [""], "acme"])
def test_what_names_no_client_is_no_setting(clients: object) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"client_databases": {"acme": HOST | {"clients": clients}}})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for client in ("acme", "globex"):
        (root / client / "sub").mkdir(parents=True)
        (root / client / "sub" / "own.csv").write_text(f"of\n{client}\n")
    (root / "shared.csv").write_text("of\nall\n")
    return root


def read(source: FileSource, path: str, client: str) -> list[dict[str, Any]]:
    return [dict(record) for record in source.collect(FileConfig(path=path), client_id=client)]


def test_a_client_with_a_folder_of_its_own_reads_from_there(root: Path) -> None:
    source = FileSource(root, by_client=True)
    for client in ("acme", "globex"):
        source.check(FileConfig(path="sub/own.csv"), client_id=client)
        assert read(source, "sub/own.csv", client) == [{"of": client}]


@pytest.mark.parametrize(
    "path", ["acme/sub/own.csv", "globex/sub/own.csv", "root/acme/sub/own.csv", "shared.csv", "none.csv"]
)
def test_a_file_outside_of_the_clients_own_folder_is_not_there(root: Path, path: str) -> None:
    source = FileSource(root, by_client=True)
    source.check(FileConfig(path=path), client_id="globex")
    with pytest.raises(SourceError) as missing:
        read(source, path, "globex")
    assert (missing.value.reason, str(missing.value)) == ("not_found", f"there is no file {path}")


def test_a_client_without_a_folder_has_no_files(root: Path) -> None:
    source = FileSource(root, by_client=True)
    with pytest.raises(SourceError, match="there is no file"):
        read(source, "sub/own.csv", "initech")


@pytest.mark.parametrize("client", ["", ".", "..", "acme/sub", "../root/acme"])
def test_what_is_no_client_has_no_folder(root: Path, client: str) -> None:
    source = FileSource(root, by_client=True)
    with pytest.raises(SourceRefusedError):
        read(source, "own.csv", client)


def test_a_folder_that_is_a_link_to_anothers_is_not_followed(root: Path) -> None:
    (root / "initech").symlink_to(root / "acme")
    (root / "globex" / "up").symlink_to(root / "acme")
    (root / "globex" / "up.csv").symlink_to(root / "acme" / "sub" / "own.csv")
    source = FileSource(root, by_client=True)
    for path, client in (("sub/own.csv", "initech"), ("up/sub/own.csv", "globex"), ("up.csv", "globex")):
        with pytest.raises(SourceRefusedError):
            read(source, path, client)


def test_without_folders_of_their_own_clients_share_the_root(root: Path) -> None:
    assert read(FileSource(root), "acme/sub/own.csv", "globex") == [{"of": "acme"}]


def test_the_setting_reaches_the_source(root: Path) -> None:
    spec = SPEC.validate_python({"source_type": "file", "config": {"path": "sub/own.csv"}})
    apart = Settings.model_validate({"file_root": root, "file_client_folders": True})
    assert catalogue(apart).collect(spec, client_id="acme") == [{"of": "acme"}]
