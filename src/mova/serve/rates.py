"""How often each client may ask: a bucket of tokens per address, filled at a constant rate."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

SECONDS = 10.0
"""A client that was quiet may send the requests of this many seconds at once."""
REMEMBERED = 4096
"""Addresses; a client that was forgotten begins with a full bucket."""
NETWORK_BITS = 64
"""Of an IPv6 address: everyone who has one has all addresses of such a network."""


class Rates:
    """Counts requests per client. It is used by one thread.

    Args:
        per_second: requests per second and client; None for no limit.
        now: the time in seconds.

    Example:
        >>> clock = [0.0]
        >>> rates = Rates(1.0, lambda: clock[0])
        >>> [rates.wait("a") for _ in range(11)][-2:], rates.wait("b")
        ([0.0, 1.0], 0.0)
        >>> clock[0] = 1.0
        >>> rates.wait("a")
        0.0
    """

    def __init__(self, per_second: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._now = per_second, now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, address: str, cost: float = 1.0) -> float:
        """Count a request; return 0, or the seconds after which it may be sent again (then it does not count).

        Args:
            address: of the client.
            cost: what it counts, in requests.
        """
        if self._rate is None:
            return 0.0
        key, now, full = _network(address), self._now(), max(1.0, SECONDS * self._rate)
        tokens, before = self._buckets.get(key, (full, now))
        tokens = min(full, tokens + (now - before) * self._rate)
        allowed = tokens >= cost
        self._buckets[key] = (tokens - cost if allowed else tokens, now)
        self._buckets.move_to_end(key)
        while len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (cost - tokens) / self._rate


def _network(address: str) -> str:
    """Return what counts as one client: an address, or a network of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, NETWORK_BITS), strict=False))
    return str(parsed)
