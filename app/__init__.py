"""The Data Collection Service. It knows nothing of the lab that watches it."""

from __future__ import annotations

__version__ = "0.1.0"
