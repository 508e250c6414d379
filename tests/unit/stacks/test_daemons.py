from __future__ import annotations

import configparser
import dataclasses
import json
from pathlib import Path

import pytest

from chaos.domain.topology import DIRECT_PORTS
from chaos.stacks.embedded import objectstore, supervisor
from chaos.stacks.embedded.assembly import TOOL_OF_DAEMON
from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.daemons import all_daemons
from chaos.stacks.embedded.identity import marker_environment

NOT_PROGRAMS = {"loki-grpc", "unused"} | {name for name in DIRECT_PORTS if name.startswith("seaweedfs-")}

PARTS_OF_STORE = ("master", "volume", "filer", "s3")


def _by_name(context: Context) -> dict[str, Daemon]:
    return {daemon.name: daemon for daemon in all_daemons(context)}


def test_every_address_of_the_topology_has_its_program(context: Context) -> None:
    assert set(_by_name(context)) == set(DIRECT_PORTS) - NOT_PROGRAMS | {"reporting"}


def test_only_the_fault_s_own_program_stays_stopped(context: Context) -> None:
    assert [name for name, daemon in _by_name(context).items() if not daemon.autostart] == ["reporting"]


def test_ports_are_those_of_the_topology(context: Context) -> None:
    ports = {name: daemon.port for name, daemon in _by_name(context).items() if daemon.port}
    assert ports == {name: context.topology.address(name).port for name in ports}


def test_a_daemon_that_could_not_be_had_is_left_out(context: Context) -> None:
    missing = {"postgres-exporter": "no figures", "node-exporter": "none"}
    tools = {k: v for k, v in context.tools.items() if k not in ("postgres_exporter", "node_exporter")}
    names = set(_by_name(dataclasses.replace(context, missing=missing, tools=tools)))
    assert not names & set(missing)
    assert "redis-exporter" in names


def test_everything_that_leaves_the_service_goes_through_its_proxies(context: Context) -> None:
    direct = {
        str(context.topology.address(name))
        for name in ("postgres", "redis", "evidence-api", "moderation-api", "seaweedfs", "loki")
    }
    for name in ("api-1", "api-2", "worker-1", "worker-2"):
        env = _by_name(context)[name].env
        text = json.dumps(dict(env))
        assert not [address for address in direct if address in text]
        assert env["DCS_DATABASE_PORT"] == str(context.topology.via("postgres").port)
        assert (
            json.loads(env["DCS_CLIENT_DATABASES"])["acme"]["port"]
            == context.topology.via("client-postgres").port
        )


def test_no_password_is_in_an_environment_or_a_command(context: Context) -> None:
    for daemon in all_daemons(context):
        for key, value in daemon.env.items():
            assert "PASSWORD" not in key or key.endswith("_FILE"), f"{daemon.name}: {key}={value}"


def test_every_port_of_the_object_store_is_of_the_block_and_nothing_else_listens(context: Context) -> None:
    command = _by_name(context)["seaweedfs"].command
    flags = dict(part.removeprefix("-").split("=", 1) for part in command if "=" in part)
    ports = {name: int(value) for name, value in flags.items() if ".port" in name or name == "metricsPort"}
    ours = {address.port for name, address in context.topology.direct.items() if name.startswith("seaweedfs")}
    # 0 turns a listener off; a gRPC port that is not set would be 10000 above its other one.
    assert {name for name, port in ports.items() if port == 0} == {"s3.port.iceberg", "s3.port.lance"}
    assert {port for port in ports.values() if port} == ours
    assert {f"{name}.grpc" for name in ports if name in {f"{part}.port" for part in PARTS_OF_STORE}} <= set(
        ports
    )
    assert (flags["ip.bind"], flags["master.telemetry"]) == ("127.0.0.1", "false")


def test_only_its_owner_reads_the_keys_of_the_object_store(context: Context) -> None:
    objectstore.make_secrets(context.layout)
    before = (context.layout.secrets / "s3.json").read_text()
    objectstore.make_secrets(context.layout)
    assert (context.layout.secrets / "s3.json").read_text() == before
    for name in ("s3.json", *(f"{one}.password" for one in objectstore.key_files(objectstore.SERVICE))):
        assert (context.layout.secrets / name).stat().st_mode & 0o777 == 0o600
    service = next(one for one in json.loads(before)["identities"] if one["name"] == objectstore.SERVICE)
    assert all(action.endswith(f":{objectstore.BUCKET}") for action in service["actions"])
    held = objectstore.credentials(context.layout, objectstore.SERVICE)
    for daemon in all_daemons(context):
        text = json.dumps([list(daemon.command), dict(daemon.env), dict(daemon.files)], default=str)
        assert held.secret_key not in text


def test_settings_of_postgres_can_be_overridden_by_alter_system(context: Context) -> None:
    command = list(_by_name(context)["postgres"].command)
    assert [part for part in command if "listen_addresses" in part] == []
    assert sum(part == "-c" for part in command) == 1, "the command line wins over postgresql.auto.conf"


@pytest.mark.parametrize("name", sorted(TOOL_OF_DAEMON))
def test_a_resolved_program_is_the_one_that_runs(context: Context, name: str) -> None:
    assert _by_name(context)[name].command[0] == str(context.tools[TOOL_OF_DAEMON[name]])


def test_toxiproxy_starts_at_its_baseline(context: Context) -> None:
    files = _by_name(context)["toxiproxy-service"].files
    proxies = {proxy["name"]: proxy for proxy in json.loads(files["toxiproxy-service.json"])}
    assert set(proxies) == set(context.topology.service_proxies)
    assert all(proxy["enabled"] for proxy in proxies.values())
    assert proxies["postgres"]["upstream"] == str(context.topology.address("postgres"))


def test_supervisord_looks_after_all_of_them_in_one_group(context: Context) -> None:
    layout = context.layout
    daemons = all_daemons(context)
    supervisor.render(layout, daemons, marker_environment("unit", layout.root))
    conf = configparser.RawConfigParser()
    conf.read(layout.conf / "supervisord.conf")
    names = {daemon.name for daemon in daemons}
    assert set(conf["group:lab"]["programs"].split(",")) == names
    assert {section.removeprefix("program:") for section in conf.sections() if "program:" in section} == names
    for name in names:
        program = conf[f"program:{name}"]
        assert program["stopasgroup"] == program["killasgroup"] == "true"
        assert program["autorestart"] == ("false" if name == "reporting" else "true")
    assert Path(conf["unix_http_server"]["file"]) == layout.supervisor_socket
    assert "FIREDRILL_LAB_ID" in conf["supervisord"]["environment"]
