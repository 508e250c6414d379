"""What the trigger route is compared with: FastAPI, one handler, one row. No more than that."""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Mapping
from typing import Any

import anyio.to_thread
import sqlalchemy
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from app.models import jobs


class Trigger(BaseModel):
    """The body, as far as a bare handler cares."""

    source_type: str
    config: dict[str, Any]


def create_app(url: str, pool_size: int) -> FastAPI:
    """Return the bare API."""
    engine = sqlalchemy.create_engine(url, pool_size=pool_size, max_overflow=0)
    app = FastAPI()

    @app.on_event("startup")
    async def limit_threads() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = pool_size

    @app.post("/api/v1/jobs/trigger", status_code=202)
    def trigger(spec: Trigger) -> Mapping[str, str]:
        job_id = uuid.uuid4()
        values = {
            "id": job_id,
            "client_id": "bench",
            "source_type": spec.source_type,
            "config": spec.config,
            "max_attempts": 5,
            "request_id": uuid.uuid4().hex,
        }
        with engine.begin() as connection:
            connection.execute(jobs.insert().inline(), values)
        return {"job_id": str(job_id), "status": "queued"}

    return app


def main() -> int:
    """Serve with the same server and options as the service."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--pool-size", type=int, required=True)
    options = parser.parse_args()
    app = create_app(options.url, options.pool_size)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=options.port,
        access_log=False,
        log_level="warning",
        ws="none",
        server_header=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
