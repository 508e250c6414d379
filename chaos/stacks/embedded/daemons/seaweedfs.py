"""SeaweedFS: the S3 server that clients deliver their files to."""

from __future__ import annotations

from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.readiness import both, http_ok

NAME = "seaweedfs"

# Its own names of its ports, and ours. What has no flag here is gRPC: port + 10000, outside of the block.
_PORTS = {
    "master.port": "seaweedfs-master",
    "master.port.grpc": "seaweedfs-master-grpc",
    "volume.port": "seaweedfs-volume",
    "volume.port.grpc": "seaweedfs-volume-grpc",
    "filer.port": "seaweedfs-filer",
    "filer.port.grpc": "seaweedfs-filer-grpc",
    "s3.port": NAME,
    "s3.port.grpc": "seaweedfs-grpc",
    "metricsPort": "seaweedfs-metrics",
}

# It knows no event notifications of S3's: it tells a webhook, here the relay's, what its file system does.
_NOTIFICATION = """\
[notification.webhook]
enabled = true
endpoint = "{url}/v1/webhook"
timeout_seconds = 2
max_retries = 3
backoff_seconds = 1
workers = 1
path_prefixes = ["/buckets/"]
"""

# A garbage collector left alone keeps twice as much; the lab's files are small.
_MEMORY = {"GOMEMLIMIT": "40MiB", "GOGC": "50"}


def daemons(context: Context) -> list[Daemon]:
    """Return the server: master, volume, filer and S3 gateway in one process."""
    layout, topology = context.layout, context.topology
    address, home = topology.address(NAME), layout.data / NAME
    conf, filer = layout.conf / NAME, topology.address("seaweedfs-filer")
    flags = {
        "dir": home,
        "ip": address.host,
        "ip.bind": address.host,
        "filer": "true",
        "s3": "true",
        "s3.config": layout.secrets / "s3.json",
        "s3.iam": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.cacheCapacityMB": 0,
        "s3.localSocket": layout.run / "s3.sock",
        "filer.localSocket": layout.run / "filer.sock",
        "master.telemetry": "false",
        # A warm start waits for a leader: 20 s by default.
        "master.electionTimeout": "1s",
        "master.heartbeatInterval": "100ms",
        "master.volumeSizeLimitMB": 64,
        "volume.max": 0,
        "volume.preStopSeconds": 0,
    } | {flag: context.port(name) for flag, name in _PORTS.items()}
    return [
        Daemon(
            name=NAME,
            command=[
                str(context.tool("weed")),
                "-logtostderr=true",
                f"-config_dir={conf}",
                "server",
                *(f"-{name}={value}" for name, value in flags.items()),
            ],
            env=_MEMORY,
            files={f"{NAME}/notification.toml": _NOTIFICATION.format(url=topology.address("s3-events").url)},
            ready=both(http_ok(address, "/healthz"), http_ok(filer, "/healthz")),
            port=address.port,
            # Asked to end, it takes 15 s, whatever it is told; it can be killed at any time and starts again.
            stop_signal="KILL",
            stop_seconds=2,
        )
    ]
