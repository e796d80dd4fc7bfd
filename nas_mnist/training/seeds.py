"""Seeds that are independent of each other, and the same everywhere."""

from __future__ import annotations

import hashlib


def derived_seed(*parts: int) -> int:
    """A seed of its own for each tuple of numbers, below 2**31, the same on every machine."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
