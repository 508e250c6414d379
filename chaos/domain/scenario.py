"""What a scenario is: a symptom, the causes that produce it, and what must be seen of each.

The models are the published schema of ``scenario.yml``: unknown keys are refused and every
duration carries its unit.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from chaos.domain.durations import Seconds

Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=64)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# ---- signals -------------------------------------------------------------------------------


class AlertSignal(_Part):
    """A named alert reaches a receiver. ``within`` defaults to the computed ceiling."""

    signal: Literal["alert"]
    name: Name
    severity: Literal["critical", "warning", "none"] | None = None
    receiver: Name | None = None
    within: Seconds | None = None


class LogSignal(_Part):
    """A LogQL query that finds at least one line, or is true as a metric query."""

    signal: Literal["log"]
    query: str
    within: Seconds = 10.0


class MetricSignal(_Part):
    """A PromQL expression that is true: a non-empty vector, or a scalar other than 0."""

    signal: Literal["metric"]
    expr: str
    within: Seconds = 10.0
    hold: Seconds = Field(default=0.0, alias="for")


class QuietSignal(_Part):
    """No alert fires, but for those ignored."""

    signal: Literal["alerts"]
    firing: Literal[0]
    ignore: tuple[Name, ...] = ()


class ResolvedSignal(_Part):
    """The resolved notification of every expected alert arrives.

    ``within`` defaults to the computed ceiling of each.
    """

    signal: Literal["alert_resolved"]
    within: Seconds | None = None


class SteadySignal(_Part):
    """The steady state holds again."""

    signal: Literal["steady_state"]
    within: Seconds = 60.0


Expectation = Annotated[AlertSignal | LogSignal | MetricSignal, Field(discriminator="signal")]
Evidence = Annotated[LogSignal | MetricSignal, Field(discriminator="signal")]
SteadyState = Annotated[QuietSignal | MetricSignal, Field(discriminator="signal")]
Recovery = Annotated[ResolvedSignal | SteadySignal, Field(discriminator="signal")]


# ---- faults --------------------------------------------------------------------------------


class ProxyDown(_Part):
    """The network path through one proxy is closed: connections are refused."""

    kind: Literal["proxy_down"]
    proxy: Name


class ProxyToxic(_Part):
    """Traffic through one proxy is impaired by one Toxiproxy toxic."""

    kind: Literal["proxy_toxic"]
    proxy: Name
    toxic: Literal["timeout"]
    stream: Literal["upstream", "downstream"] = "downstream"
    timeout_ms: int = Field(default=0, ge=0, le=60_000)


class ServiceEnvironment(_Part):
    """The service is restarted with wrong settings, as a bad deployment would.

    A value may name an address of the stack: ``$port(unused)`` or ``$host(NAME)``.
    """

    kind: Literal["service_environment"]
    programs: tuple[Name, ...] = Field(min_length=1)
    variables: dict[Annotated[str, Field(pattern=r"^DCS_[A-Z_]+$")], str] = Field(min_length=1)


class DatabaseSetting(_Part):
    """The database server runs with another value of a setting that needs a restart."""

    kind: Literal["database_setting"]
    name: Literal["listen_addresses"]
    value: str


class RestartLoop(_Part):
    """A daemon is ended again and again shortly after it became ready."""

    kind: Literal["restart_loop"]
    program: Name
    up: Annotated[Seconds, Field(ge=1.2, le=60)]  # supervisor counts a shorter life as a failed start
    down: Annotated[Seconds, Field(ge=0.1, le=60)]


class ConnectionLeak(_Part):
    """Another client keeps every connection the database server has to give."""

    kind: Literal["connection_leak"]
    program: Name
    role: Name  # whose warm connections are ended, or its pools hide the leak


Fault = Annotated[
    ProxyDown | ProxyToxic | ServiceEnvironment | DatabaseSetting | RestartLoop | ConnectionLeak,
    Field(discriminator="kind"),
]


# ---- the scenario --------------------------------------------------------------------------


class Traffic(_Part):
    """The background load a scenario needs to be seen."""

    profile: Literal["steady"]
    clients: Annotated[int, Field(ge=1, le=100)]
    rate_per_second_each: Annotated[float, Field(gt=0, le=1.6)]  # 100 a minute is the service's limit

    @property
    def rate_per_second(self) -> float:
        """Requests per second of all clients together."""
        return self.clients * self.rate_per_second_each


class Contract(_Part):
    """What the alerts must do: must, may and must-not."""

    expect: tuple[Expectation, ...] = ()
    allow: tuple[Name, ...] = ()
    forbid: tuple[Name, ...] = ()


class Variant(_Part):
    """One cause of the symptom."""

    id: Slug
    cause: Slug
    title: str
    faults: tuple[Fault, ...] = Field(min_length=1)
    evidence: tuple[Evidence, ...] = Field(min_length=1)
    remedy: tuple[str, ...] = Field(min_length=1)
    reasons: tuple[str, ...] = Field(min_length=1)  # what a connecting client may be told while it lasts
    intermittent: bool = False  # the path works at times while the fault is live
    expect: tuple[Expectation, ...] | None = None
    allow: tuple[Name, ...] | None = None
    forbid: tuple[Name, ...] | None = None


class Limits(_Part):
    """How long a drill may take before the guardian ends it."""

    max_duration: Annotated[Seconds, Field(ge=10, le=900)]


class Practice(_Part):
    """What a person practising chooses from."""

    components: tuple[Slug, ...] = ()
    causes: tuple[Slug, ...] = ()
    hints: tuple[str, ...] = ()


class Scenario(_Part):
    """A symptom an on-call person meets, with at least one cause."""

    schema_: Literal["firedrill/v1"] = Field(alias="schema")
    title: str = Field(min_length=1, max_length=120)
    symptom: str = Field(min_length=1)
    steady_state: tuple[SteadyState, ...] = Field(min_length=1)
    traffic: Traffic
    expect: tuple[Expectation, ...] = Field(min_length=1)
    allow: tuple[Name, ...] = ()
    forbid: tuple[Name, ...] = ()
    variants: tuple[Variant, ...] = Field(min_length=1)
    recover: tuple[Recovery, ...] = Field(min_length=1)
    limits: Limits
    practice: Practice = Practice()

    @model_validator(mode="after")
    def _variants_are_distinct(self) -> Self:
        ids = [variant.id for variant in self.variants]
        repeated = sorted({i for i in ids if ids.count(i) > 1})
        if repeated:
            msg = f"variant ids are given twice: {', '.join(repeated)}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _alerts_are_consistent(self) -> Self:
        for variant in self.variants:
            contract = self.contract(variant)
            expected = {e.name for e in contract.expect if isinstance(e, AlertSignal)}
            for first, second, words in (
                (expected, set(contract.forbid), "expected and forbidden"),
                (set(contract.allow), set(contract.forbid), "allowed and forbidden"),
            ):
                both = sorted(first & second)
                if both:
                    msg = f"variant {variant.id}: {', '.join(both)} is both {words}"
                    raise ValueError(msg)
            if not expected:
                msg = f"variant {variant.id} expects no alert: nothing would be judged"
                raise ValueError(msg)
        return self

    def contract(self, variant: Variant) -> Contract:
        """Return what the alerts must do under ``variant``: its own words override the scenario's."""
        return Contract(
            expect=self.expect if variant.expect is None else variant.expect,
            allow=self.allow if variant.allow is None else variant.allow,
            forbid=self.forbid if variant.forbid is None else variant.forbid,
        )
