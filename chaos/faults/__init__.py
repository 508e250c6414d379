"""Faults: reversible acts on real parts, one file per kind, and the remedies an operator has for them."""

from __future__ import annotations
