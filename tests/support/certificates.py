"""Certificates of an authority of one's own, made with the machine's openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates for names. Keys are P-256: made in milliseconds."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("no openssl here to make certificates with")
        self._folder = folder
        self._pair = self._new(name, ["-x509", "-days", "2", "-subj", f"/CN=test {name}"])
        self.certificate = self._pair.certificate

    def _new(self, name: str, arguments: list[str]) -> Pair:
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        self._openssl("req", *curve, "-keyout", str(pair.key), "-out", str(pair.certificate), *arguments)
        return pair

    def issue(self, host: str, *, expired: bool = False) -> Pair:
        """Return a certificate for one name."""
        name = f"{host}{'-expired' if expired else ''}"
        pair = self._new(name, ["-subj", f"/CN={host}"])
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{host}\n")
        request = pair.certificate.rename(self._folder / f"{name}.csr")
        days = "-1" if expired else "2"
        authority = ["-CA", str(self._pair.certificate), "-CAkey", str(self._pair.key), "-CAcreateserial"]
        into = ["-in", str(request), "-out", str(pair.certificate), "-days", days]
        self._openssl("x509", "-req", *into, *authority, "-extfile", str(extensions))
        # What verifies it says only that it does not: that its time is the reason is made sure here.
        self._openssl("x509", "-checkend", "0", "-in", str(pair.certificate), code=1 if expired else 0)
        return pair

    @staticmethod
    def _openssl(*arguments: str, code: int = 0) -> None:
        done = subprocess.run(["openssl", *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
