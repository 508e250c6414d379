"""One run of the nemesis: deploy short leases, load, break, heal, wait, read back, judge."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from chaos.domain.clients import LEDGER as CLIENTS
from chaos.domain.journal import Phase
from chaos.domain.waiting import POLL_SECONDS
from chaos.engine import baseline
from chaos.engine.heal import require_own_database
from chaos.engine.nemesis.acts import NEMESIS, Nemesis, Tools
from chaos.engine.nemesis.campaign import PROGRESS_SECONDS, Campaign
from chaos.engine.nemesis.landing import Landing, Store
from chaos.engine.nemesis.leftovers import Usage, left_over, usage
from chaos.engine.nemesis.ports import MarkedCache, Misbehaving, Paths, Processes
from chaos.engine.nemesis.result import NemesisResult
from chaos.engine.nemesis.schedule import plan
from chaos.engine.nemesis.table import SERVICE, not_possible, table
from chaos.engine.session import Run, Session
from chaos.errors import StackError
from chaos.faults.service_environment import rounds
from chaos.ledger.checks import check
from chaos.ledger.client import offered_kinds
from chaos.ledger.database import Tables
from chaos.ledger.history import History, Type, read_history
from chaos.ledger.load import Load, Profile
from chaos.ledger.reading import Reader, observe
from chaos.ledger.submissions import submissions
from chaos.ports import Operators

LEASE_SECONDS = 5.0
QUERY_DEADLINE_SECONDS = 1.5
"""A lease must be longer than three of them."""
WARM_UP_SECONDS = 5.0
WARM_UP_SECONDS_MAX = 30.0
LAST_WORD_SECONDS_MAX = 30.0
"""How long clients keep at what they have begun, once everything is healed."""
SETTLE_SECONDS_MAX = 120.0
"""C1: by then every acknowledged job has ended."""
OVERRUN_FACTOR = 3.0
"""A slow machine gets this much longer than asked for, then what is missing is an ERROR."""
OVERRUN_SECONDS_MIN = 240.0
BASELINE_SECONDS_MAX = 30.0
RATE_SURPLUS = 1.3
RATE_MIN_PER_SECOND = 5.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What was asked for. ``only`` limits the table to some cells, for looking into one."""

    seed: int
    minutes: float
    jobs_min: int
    only: Sequence[str] = ()


@dataclass(frozen=True)
class Parts:
    """What a run needs of the lab. ``headers`` by client are how it proves who it is."""

    operators: Operators
    paths: Paths
    processes: Processes
    cache: MarkedCache
    upstreams: Misbehaving
    store: Store
    dsn: Mapping[str, Any]
    headers: Mapping[str, Mapping[str, str]]
    settings: Mapping[str, str]


class NemesisRun:
    """Carries out an order on a stack that runs and is healthy."""

    def __init__(self, order: Order, parts: Parts, session: Session, run: Run, say: Say) -> None:
        self._order = order
        self._parts = parts
        self._session = session
        self._run = run
        self._say = say
        self._ops = parts.operators
        self._began = self._ops.clock.now()
        self._trouble: list[str] = []
        self._stopping = threading.Event()
        self._journal_lock = threading.Lock()
        topology = self._ops.stack.topology
        programs = [view.name for view in self._ops.stack.views()]
        self._cells = table(list(topology.service_proxies), programs)
        self._lanes = plan(self._cells, order.seed, LEASE_SECONDS, order.only)
        self._partial = f"only {', '.join(order.only)}" if order.only else ""

    def run(self, history_path: Path) -> NemesisResult:
        """Do it all. What the lab could not do becomes trouble of the result."""
        require_own_database(self._ops)
        before = baseline.take(self._ops)
        self._deploy()
        tables = Tables(self._parts.dsn, CLIENTS)
        tables.begin()
        with History(history_path) as history:
            load = Load(self._profile(), history)
            seed, began = self._order.seed, self._began
            landing = Landing(self._parts.store, tables, history, seed=seed, began_unix=began)
            campaign, was = self._break(load, landing, history)
            load.stop(LAST_WORD_SECONDS_MAX)
            landing.end()
        self._say("healed: waiting for every job and every file to end")
        settled = tables.settle(SETTLE_SECONDS_MAX)
        if not landing.settle():
            self._trouble.append("files still wait to be loaded")
        left = left_over(self._ops, self._parts.processes, was, tables.locks)
        self._say("reading everything back")
        submitted = submissions(read_history(history_path))
        reader = Reader(self._target, self._parts.headers, self._order.seed)
        observed = observe(reader, tables, submitted, left, settled)
        left += self._restore(before)
        findings = check(submitted, replace(observed, leftovers=left)) + landing.findings(history_path)
        return NemesisResult(
            seed=self._order.seed,
            minutes=self._order.minutes,
            run_id=self._run.id,
            lab_id=self._ops.stack.topology.lab_id,
            started_unix=self._began,
            ended_unix=self._ops.clock.now(),
            lease_seconds=LEASE_SECONDS,
            submissions=len(submitted),
            jobs=sum(one.acked for one in submitted),
            jobs_min=self._order.jobs_min,
            calls=asdict(load.tally),
            states=dict(Counter(row.state for row in observed.jobs)),
            settle_seconds=settled[1],
            owed=[step.cell.name for lane in self._lanes for step in lane.required],
            table=[cell.name for cell in self._cells],
            injections=campaign.log.injections,
            not_possible=not_possible(list(self._ops.stack.topology.service_proxies)),
            findings=findings,
            trouble=self._trouble,
            history=str(history_path),
            partial=self._partial,
        )

    # ---- before ------------------------------------------------------------------------------

    def _deploy(self) -> None:
        """Give the service short leases, one instance after the other; healing takes them back."""
        self._journal(Phase.INJECTING, "deploy the settings of the nemesis")
        stack = self._ops.stack
        stack.stop("traffic")  # every job of this run is to be the ledger's
        for program in SERVICE:
            stack.set_override(program, self._parts.settings)
        for members in rounds(SERVICE):
            stack.restart(*members)

    def _profile(self) -> Profile:
        seconds = self._order.minutes * 60
        rate = max(RATE_MIN_PER_SECOND, RATE_SURPLUS * self._order.jobs_min / seconds)
        prefix = f"{self._run.id}-{int(self._began)}"
        kinds = offered_kinds(self._target)
        return Profile(self._target, self._parts.headers, rate, self._order.seed, prefix, kinds)

    @property
    def _target(self) -> str:
        return self._ops.stack.topology.address("nginx").url

    def _journal(self, phase: Phase, act: str) -> None:
        with self._journal_lock:
            self._run.journal.write(phase, act)

    # ---- during ------------------------------------------------------------------------------

    def _break(self, load: Load, landing: Landing, history: History) -> tuple[Campaign, Usage]:
        order = self._order
        history.record(Type.INFO, NEMESIS, "begin", seed=order.seed, minutes=order.minutes)
        load.start()
        landing.deliveries.start()
        self._warm_up(load)
        was = usage(self._ops, self._parts.processes)
        tools = Tools(
            self._ops,
            self._parts.paths,
            self._parts.processes,
            self._parts.cache,
            self._parts.upstreams,
            history,
            self._run.journal,
            self._stopping,
            self._journal_lock,
        )
        campaign = Campaign(Nemesis(tools), self._lanes, self._stopping)
        seconds = order.minutes * 60 - WARM_UP_SECONDS
        campaign.run(
            seconds_min=seconds,
            seconds_max=max(seconds * OVERRUN_FACTOR, seconds + OVERRUN_SECONDS_MIN),
            enough=lambda: load.tally.jobs >= order.jobs_min,
            watch=self._watcher(load, landing, campaign),
        )
        self._trouble += campaign.unended()
        if load.tally.refusals:
            self._trouble.append(f"submissions were refused: {load.tally.refusals}")
        history.record(Type.INFO, NEMESIS, "end", durable=True, injections=len(campaign.log.injections))
        return campaign, was

    def _warm_up(self, load: Load) -> None:
        """Let the pools fill, and see that there is a service to break.

        Raises:
            StackError: it accepts nothing.
        """
        clock = self._ops.clock
        began = clock.now()
        while clock.now() < began + WARM_UP_SECONDS or not load.tally.jobs:
            load.check()
            if clock.now() > began + WARM_UP_SECONDS_MAX:
                raise StackError(
                    f"the service accepted nothing for {WARM_UP_SECONDS_MAX:g} s, and nothing was broken yet "
                    f"({asdict(load.tally)}). Run `lab status`"
                )
            clock.sleep(POLL_SECONDS)

    def _watcher(self, load: Load, landing: Landing, campaign: Campaign) -> Callable[[], None]:
        next_at = self._ops.clock.now()

        def watch() -> None:
            nonlocal next_at
            self._run.guardian.beat()
            load.check()
            landing.deliveries.check()
            now = self._ops.clock.now()
            if now >= next_at:
                next_at = now + PROGRESS_SECONDS
                proven = sum(not injection.why for injection in campaign.log.injections)
                self._say(
                    f"{now - self._began:6.0f} s  {load.tally.jobs} jobs accepted, {proven} faults, "
                    f"{campaign.owed} still owed; now: {', '.join(campaign.current()) or 'nothing'}"
                )

        return watch

    # ---- after -------------------------------------------------------------------------------

    def _restore(self, before: Mapping[str, Any]) -> list[str]:
        """Set the baseline; return what differs from the one before the run."""
        self._say("restoring the stack's own settings")
        self._journal(Phase.RECOVERING, "restore the baseline")
        self._session.heal_now()
        left = [str(one) for one in baseline.wait_equal(before, self._ops, BASELINE_SECONDS_MAX)]
        self._run.clean = not left
        return left
