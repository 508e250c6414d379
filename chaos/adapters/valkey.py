"""Redis (Valkey here) as its administrator sees it, directly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.domain.topology import REDIS_MARKER, Address
from chaos.errors import AdapterError

TIMEOUT_SECONDS = 2.0


class RedisAdmin:
    """Configuration of one server. No retries: a lab wants to know at once."""

    def __init__(self, address: Address) -> None:
        self._client = redis.Redis(
            host=address.host,
            port=address.port,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )

    def snapshot(self) -> Mapping[str, str]:
        """Return its configuration, for comparison."""
        try:
            config = self._client.config_get("*")
        except redis.RedisError as error:
            raise AdapterError(f"redis does not answer: {error}. See `lab logs redis`") from error
        return {str(key): str(value) for key, value in sorted(config.items())}

    def is_lab(self, lab_id: str) -> bool:
        """Return whether it carries the marker of this lab."""
        return bool(self._ask(lambda: self._client.get(REDIS_MARKER)) == lab_id)

    def mark(self, lab_id: str) -> None:
        """Write the marker. The caller has proven whose server it is."""
        self._ask(lambda: self._client.set(REDIS_MARKER, lab_id))

    def flush(self) -> None:
        """Delete everything, at once and without asking."""
        self._ask(self._client.flushall)

    @staticmethod
    def _ask(question: Callable[[], object]) -> object:
        try:
            return question()
        except redis.RedisError as error:
            raise AdapterError(f"redis does not answer: {error}. See `lab logs redis`") from error

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()
