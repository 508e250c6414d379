"""The lab's object store: who may do what there, and the bucket that files land in."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

from chaos.domain.topology import Address
from chaos.stacks.embedded.layout import Layout, write_durably
from chaos.upstreams.bucket import Bucket, Credentials

BUCKET = "landing"
SERVICE, DELIVERY = "service", "delivery"

# The service reads, lists, and copies what is unfit to quarantine/; whoever delivers may make the bucket.
_ACTIONS: Mapping[str, tuple[str, ...]] = {
    SERVICE: (f"Read:{BUCKET}", f"List:{BUCKET}", f"Write:{BUCKET}"),
    DELIVERY: ("Admin",),
}


def key_files(who: str) -> tuple[str, str]:
    """Return the names of the secrets that hold an identity's access key and its secret key."""
    return f"s3-{who}-access-key", f"s3-{who}-secret-key"


def make_secrets(layout: Layout) -> None:
    """Give each identity its keys, once per lab, and write them where the server reads them."""
    identities = []
    for who, actions in _ACTIONS.items():
        for name in key_files(who):
            path = layout.secrets / f"{name}.password"
            if not path.exists():
                write_durably(path, secrets.token_urlsafe(24) + "\n", mode=0o600)
        held = credentials(layout, who)
        keys = {"accessKey": held.access_key, "secretKey": held.secret_key}
        identities.append({"name": who, "credentials": [keys], "actions": list(actions)})
    write_durably(layout.secrets / "s3.json", json.dumps({"identities": identities}) + "\n", mode=0o600)


def credentials(layout: Layout, who: str) -> Credentials:
    """Return an identity's keys. Raises ``OSError`` before there are any."""
    access, secret = key_files(who)
    return Credentials.of_files(layout.secrets / f"{access}.password", layout.secrets / f"{secret}.password")


def landing(layout: Layout, address: Address) -> Bucket:
    """Return the bucket as whoever delivers files sees it."""
    return Bucket(address.host, address.port, BUCKET, credentials(layout, DELIVERY))
