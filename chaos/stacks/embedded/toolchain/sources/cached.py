"""Programs the lab fetched or built before."""

from __future__ import annotations

from chaos.stacks.embedded.toolchain.catalogue import Bundle
from chaos.stacks.embedded.toolchain.sources.base import Found, Job


class CacheSource:
    """The lab's cache, outside the clone and shared by every lab of this user."""

    name = "cache"

    def locate(self, bundle: Bundle, job: Job) -> Found:
        """Return the entry, its sizes and times as recorded."""
        entry = job.cache.find(bundle)
        programs = {program: entry.directory / program for program in bundle.programs}
        return Found(entry.version, f"cache ({entry.source})", programs)
