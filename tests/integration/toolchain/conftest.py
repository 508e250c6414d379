from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chaos.config import LabConfig


def program(name: str, version: str) -> bytes:
    return f"#!/bin/sh\necho '{name}, version {version} (branch: HEAD, revision: 0)'\n".encode()


def tar_gz(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@dataclass
class Mirror:
    """A web server with release files, laid out as the projects lay them out."""

    root: Path
    url: str
    asked: list[str] = field(default_factory=list)

    def publish(
        self,
        repository: str,
        version: str,
        files: dict[str, bytes],
        *,
        checksums: str | None = "sha256sums.txt",
        lies: dict[str, str] | None = None,
    ) -> None:
        folder = self.root / repository / "releases" / "download" / f"v{version}"
        folder.mkdir(parents=True)
        lines = []
        for name, content in files.items():
            (folder / name).write_bytes(content)
            digest = (lies or {}).get(name, hashlib.sha256(content).hexdigest())
            if digest:
                lines.append(f"{digest}  {name}\n")
        if checksums:
            (folder / checksums).write_text("".join(lines))


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    root = tmp_path / "mirror"
    root.mkdir()
    made = Mirror(root, "")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            if self.path.startswith("/moved/"):  # as GitHub sends a download to its storage
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/moved"))
                self.end_headers()
                return
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(root))
    )
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def config(tmp_path: Path) -> LabConfig:
    return LabConfig(id="toolchain-test", cache_dir=tmp_path / "cache", state_root=tmp_path / "state")
