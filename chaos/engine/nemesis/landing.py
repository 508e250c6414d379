"""The part of a nemesis that is about files: deliver, let them be found, read back, judge."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from chaos.domain.clients import LANDERS
from chaos.engine.nemesis.ports import Populates
from chaos.ledger.database import Tables
from chaos.ledger.deliveries import Deliveries, Puts, delivered
from chaos.ledger.findings import Finding
from chaos.ledger.history import History, read_history
from chaos.ledger.ingested import Landed, check_landed

LAST_PUT_SECONDS_MAX = 20.0
SETTLE_SECONDS_MAX = 120.0
ASKED_MAX = 3
"""How often an operator asks for the day: what has died meanwhile is loaded again by that."""
DEAD = "dead"


@dataclass(frozen=True)
class Store:
    """Where files are delivered, and the service that is asked to look for them."""

    bucket: Puts
    service: Populates


class Landing:
    """One run's files. Their data set has the run's name, so no other run's are among them."""

    def __init__(
        self, store: Store, tables: Tables, history: History, *, seed: int, began_unix: float
    ) -> None:
        self._store = store
        self._tables = tables
        day = dt.datetime.fromtimestamp(began_unix, dt.UTC).date().isoformat()
        self.deliveries = Deliveries(
            store.bucket,
            history,
            clients=LANDERS,
            day=day,
            dataset=f"nemesis-{int(began_unix)}",
            seed=seed,
        )

    def end(self) -> None:
        """Deliver the last file to its end, and no other. The history is complete then."""
        self.deliveries.stop(LAST_PUT_SECONDS_MAX)

    def settle(self) -> bool:
        """Have the day listed, as a schedule or an operator would: that finds what no event told of."""
        deliveries = self.deliveries
        for _ in range(ASKED_MAX):
            for client in LANDERS:
                self._store.service.populate(client, deliveries.day)
            if not self._tables.files_settle(deliveries.dataset, LANDERS, SETTLE_SECONDS_MAX):
                return False
            if all(row.state != DEAD for row in self._landed().files):
                break
        return True

    def _landed(self) -> Landed:
        return self._tables.landed(self.deliveries.dataset)

    def findings(self, history_path: Path) -> list[Finding]:
        """Judge. What was delivered is deleted from the bucket afterwards."""
        found = check_landed(delivered(read_history(history_path)), self._landed())
        self.deliveries.tidy()
        return found
