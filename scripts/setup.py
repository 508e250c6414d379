"""Makes `.venv` from the hashed requirement files, or brings it up to date. Standard library only.

Usage: setup.py runtime|development|bench. Prints nothing when there is nothing to do. `bench` makes
`.venv-bench`, where `make bench` runs what it compares with; it needs the `.venv` that is there.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shlex
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements"
FILES = {
    "runtime": ("uv.txt", "runtime.txt"),
    "development": ("uv.txt", "runtime.txt", "development.txt"),
    "bench": ("bench.txt",),
}

PROBE_TIMEOUT_SECONDS = 60
SIGN_OF_LIFE_SECONDS = 15
VENV_TIMEOUT_SECONDS = 300
INSTALL_TIMEOUT_SECONDS = 1800
EXIT_ERROR = 3
EXIT_INTERRUPTED = 130


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


def venv_of(kind: str) -> Path:
    """Return the environment that holds ``kind``. What is compared with is kept apart from the service."""
    return VENV.with_name(".venv-bench") if kind == "bench" else VENV


def stamp(kind: str) -> Path:
    """Return the file that shows that ``kind`` is installed from just these requirements at this place."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in FILES[kind]:
        digest.update((REQUIREMENTS / name).read_bytes())
    return venv_of(kind) / f".{kind}-{digest.hexdigest()[:16]}"


def is_up_to_date(kind: str) -> bool:
    """Return whether the environment holds what is wanted; its Python may be gone since."""
    return stamp(kind).is_file() and (venv_of(kind) / "bin" / "python").is_file()


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring `.venv` up to date, one process at a time."""
    parser = argparse.ArgumentParser(description="Bring .venv up to date.")
    parser.add_argument("kind", choices=sorted(FILES))
    kind = parser.parse_args(arguments).kind
    if is_up_to_date(kind):
        return 0
    try:
        with Path(__file__).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel frees it when this process ends
            if not is_up_to_date(kind):
                (install_bench if kind == "bench" else install)(kind)
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("set-up: interrupted; the next call goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def install(kind: str) -> None:
    """Install in three steps, each shown, and write the stamp last."""
    started = time.monotonic()
    say(1, f"virtual environment with Python {sys.version.split()[0]}")
    make_venv()
    for old in [*VENV.glob(".runtime-*"), *VENV.glob(".development-*")]:
        old.unlink()
    say(2, "uv, which installs the rest (hashes checked)")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--require-hashes", "-r", str(REQUIREMENTS / "uv.txt")], INSTALL_TIMEOUT_SECONDS)
    say(3, f"packages of requirements/{kind}.txt (hashes checked)")
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(PYTHON)]
    # Compiled now, or each daemon starts 3 s later the first time.
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    options = [*quiet, "--require-hashes", "--compile-bytecode", "-r", str(REQUIREMENTS / f"{kind}.txt")]
    run([*uv, *options], INSTALL_TIMEOUT_SECONDS, uv_settings())
    write_console_command()
    stamp(kind).touch()
    if kind == "development":
        stamp("runtime").touch()  # development includes it
    print(f"set-up: done in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def install_bench(kind: str) -> None:
    """Make the comparators' environment again, with the uv and the Python of `.venv`."""
    uv, venv = str(VENV / "bin" / "uv"), venv_of(kind)
    if not is_up_to_date("runtime"):
        raise SetupError("`.venv` is not there or not current. Run `make setup` first.")
    say(1, f"virtual environment {venv.name}, for what the benchmarks compare with", steps=2)
    shutil.rmtree(venv, ignore_errors=True)
    run([uv, "venv", "--quiet", "--python", str(PYTHON), str(venv)], VENV_TIMEOUT_SECONDS)
    say(2, "packages of requirements/bench.txt (hashes checked)", steps=2)
    target = [uv, "pip", "install", "--quiet", "--python", str(venv / "bin" / "python")]
    options = ["--require-hashes", "--compile-bytecode", "-r", str(REQUIREMENTS / "bench.txt")]
    run([*target, *options], INSTALL_TIMEOUT_SECONDS, uv_settings())
    stamp(kind).touch()


def say(step: int, what: str, *, steps: int = 3) -> None:
    """Show where set-up is."""
    print(f"set-up: [{step}/{steps}] {what}", file=sys.stderr, flush=True)


def run(argv: Sequence[str], timeout_seconds: float, extra: dict[str, str] | None = None) -> None:
    """Run one step with its output shown; raise with advice when it fails."""
    started = time.monotonic()
    try:
        process = subprocess.Popen(argv, env={**os.environ, **(extra or {})})
        while (code := wait(process)) is None:
            passed_seconds = time.monotonic() - started
            if passed_seconds > timeout_seconds:
                process.kill()
                process.wait()
                raise SetupError(f"`{shlex.join(argv)}` did not end within {timeout_seconds:g} s. Try again.")
            print(f"set-up:       … {passed_seconds:.0f} s", file=sys.stderr, flush=True)
    except OSError as error:
        raise SetupError(f"`{argv[0]}` cannot be started: {error}. Remove .venv and try again.") from error
    if code != 0:
        raise SetupError(
            f"`{shlex.join(argv)}` failed ({code}). Is a Python package index reachable? Behind a proxy set "
            "HTTPS_PROXY, with a mirror set PIP_INDEX_URL; then run make again."
        )


def wait(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code, or None when it is time for a sign of life."""
    try:
        return process.wait(SIGN_OF_LIFE_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def make_venv() -> None:
    """Create `.venv`, or make a broken, too old or pip-less one usable."""
    if probe(["import sys; sys.exit(sys.version_info[:2] < (3, 11))"]):
        if probe(["import pip"]):
            return
        run([str(PYTHON), "-m", "ensurepip", "--default-pip"], VENV_TIMEOUT_SECONDS)
        return
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(
            f"{sys.executable} has no {' and no '.join(missing)}. Install it: Debian and Ubuntu "
            f"`apt-get install python{version}-venv`; or name another Python: make PYTHON=/path/to/python …"
        )
    if VENV.is_dir() and not VENV.is_symlink():
        shutil.rmtree(VENV)
    run([sys.executable, "-m", "venv", str(VENV)], VENV_TIMEOUT_SECONDS)


def probe(code: Sequence[str]) -> bool:
    """Tell whether the environment's Python runs ``code`` without an error."""
    if not PYTHON.is_file():
        return False
    finished = subprocess.run(
        [str(PYTHON), "-c", *code], check=False, timeout=PROBE_TIMEOUT_SECONDS, capture_output=True
    )
    return finished.returncode == 0


def uv_settings() -> dict[str, str]:
    """Hand pip's index and certificate to uv, which does not read them: chosen once is enough.

    uv trusts roots of its own; where the system has a store, a company's root is in that one.
    """
    system_store = ssl.create_default_context().cert_store_stats()["x509_ca"] > 0
    wanted = {
        "UV_DEFAULT_INDEX": pip_setting("index-url"),
        "SSL_CERT_FILE": pip_setting("cert"),
        "UV_SYSTEM_CERTS": "true" if system_store else "",
    }
    return {key: value for key, value in wanted.items() if value and not os.environ.get(key)}


def pip_setting(name: str) -> str:
    """Return a setting of pip from its environment variable or its configuration files."""
    from_environment = os.environ.get("PIP_" + name.upper().replace("-", "_"), "")
    if from_environment:
        return from_environment
    finished = subprocess.run(
        [str(PYTHON), "-m", "pip", "config", "get", f"global.{name}"],
        check=False,
        timeout=PROBE_TIMEOUT_SECONDS,
        capture_output=True,
        text=True,
    )
    return finished.stdout.strip() if finished.returncode == 0 else ""


def write_console_command() -> None:
    """Write `.venv/bin/lab`, and make the checkout importable from any directory."""
    lab = VENV / "bin" / "lab"
    # By way of sh: a shebang line breaks when the path has a space in it.
    lab.write_text(f'#!/bin/sh\nexec {shlex.quote(str(PYTHON))} -m chaos.cli "$@"\n', encoding="utf-8")
    lab.chmod(0o755)
    for site in VENV.glob("lib/python*/site-packages"):
        (site / "firedrill.pth").write_text(f"{ROOT}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
