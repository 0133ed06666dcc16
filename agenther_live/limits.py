"""What keeps calls to models within bounds: caps on spend, a pace, and a breaker for endpoints that are down."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from agenther_live.errors import EndpointDown, SpendCapReached

__all__ = ["Breaker", "Budget", "Pace"]

_BURST_SECONDS = 3.0  # calls may come so far ahead of an even pace; the minute's limit holds all the same
_FAILURES = 20  # in a row, without a success between them
_FIRST_REST, _LONGEST_REST = 10.0, 300.0


class Budget:
    """What a UTC day and an hour of it may cost. Calls in flight count by their estimate."""

    def __init__(
        self, *, usd: float, tokens: int, usd_per_hour: float | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Cap the spend of a day, in US dollars and tokens, and that of an hour; `clock` gives epoch seconds."""
        self.usd_cap = usd
        self.usd_per_hour = usd_per_hour
        self.tokens_cap = tokens
        self._clock = clock
        self._day, self._hour = self._windows(clock())
        self.usd = 0.0
        self.usd_this_hour = 0.0
        self.tokens = 0
        self.calls = 0
        self._held = 0
        self._held_usd = 0.0

    @staticmethod
    def _windows(at: float) -> tuple[int, int]:
        """Give the numbers of the UTC day and hour of an epoch time."""
        return int(at // 86_400), int(at // 3600)

    def _turn(self) -> None:
        """Begin a new day or hour. A clock that is set back and comes again gives nothing anew."""
        day, hour = self._windows(self._clock())
        if day > self._day:
            self.usd, self.tokens, self.calls = 0.0, 0, 0
        if hour > self._hour:
            self.usd_this_hour = 0.0
        # Far behind: then it was wrong before, and is believed now.
        self._day = day if day < self._day - 1 else max(day, self._day)
        self._hour = hour if hour < self._hour - 1 else max(hour, self._hour)

    def spent(self, tokens: int, usd: float | None, at: float) -> None:
        """Count a call that was paid for at this epoch time."""
        self._turn()
        today, this_hour = self._windows(self._clock())
        day, hour = self._windows(at)
        if day >= today:
            self.tokens += tokens
            self.usd += usd or 0.0
            self.calls += 1
        if hour >= this_hour:
            self.usd_this_hour += usd or 0.0

    def hold(self, tokens: int, price: float | None = None) -> float:
        """Set tokens aside for a call that begins, and its price in dollars; gives the dollars set aside.

        Raises:
            SpendCapReached: a cap is used up.
        """
        self._turn()
        # Where no price is known, what a token has cost today is the best guess at what the next ones will.
        usd = tokens * (self.usd / self.tokens if self.tokens else 0.0) if price is None else price
        if self.tokens + self._held + tokens > self.tokens_cap:
            raise SpendCapReached(
                f"{self.tokens:,} of {self.tokens_cap:,} tokens of today are used: work goes on at 00:00 UTC, "
                "or raise tokens_per_day"
            )
        if self.usd >= self.usd_cap or self.usd + self._held_usd + usd > self.usd_cap:
            raise SpendCapReached(
                f"${self.usd:.4f} of ${self.usd_cap:.2f} of today are spent: work goes on at 00:00 UTC, "
                "or raise spend_per_day_usd"
            )
        cap = self.usd_per_hour
        if cap is not None and (self.usd_this_hour >= cap or self.usd_this_hour + self._held_usd + usd > cap):
            again = datetime.fromtimestamp((self._hour + 1) * 3600, UTC)
            raise SpendCapReached(
                f"${self.usd_this_hour:.4f} of ${cap:.2f} of this hour are spent: work goes on at {again:%H:%M} UTC, "
                "or raise spend_per_hour_usd"
            )
        self._held += tokens
        self._held_usd += usd
        return usd

    def release(self, tokens: int, usd: float) -> None:
        """Give back what was set aside."""
        self._held -= tokens
        self._held_usd -= usd


class Pace:
    """So many per minute, of requests or of tokens: no window of 60 s holds more, unless one amount alone does."""

    def __init__(self, per_minute: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """None sets no pace; `clock` gives seconds."""
        self._cost = (60.0 + _BURST_SECONDS) / per_minute if per_minute else 0.0
        self._clock = clock
        self._next = 0.0

    def reserve(self, amount: float = 1.0) -> float:
        """Take a place in the line; gives how many seconds to wait for it."""
        if not self._cost:
            return 0.0
        now = self._clock()
        begin = max(self._next, now - _BURST_SECONDS)
        self._next = begin + amount * self._cost
        return max(0.0, begin - now)


class Breaker:
    """Stops asking an endpoint that only fails: open after 20 failures in a row, then one call tries it, now and then.

    It rests 10 s at first, twice as long after each try that fails, 5 minutes at most.
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Guard the endpoint called `name`; `clock` gives seconds."""
        self.name = name
        self._clock = clock
        self._failures = 0
        self._rest = _FIRST_REST
        self._until: float | None = None
        self._trying = False

    @property
    def open(self) -> bool:
        """Whether nothing but a try is let through."""
        return self._until is not None

    def enter(self) -> None:
        """Ask leave for a call.

        Raises:
            EndpointDown: the endpoint rests, or somebody is just trying it.
        """
        if self._until is None:
            return
        left = self._until - self._clock()
        if left > 0 or self._trying:
            raise EndpointDown(
                f"{self.name} failed {self._failures} times in a row: asked again in {max(left, 1.0):.0f} s"
            )
        self._trying = True

    def worked(self) -> None:
        """Say that a call was answered, be it with a refusal."""
        self._failures, self._rest, self._until, self._trying = 0, _FIRST_REST, None, False

    def failed(self, retry_after: float | None = None) -> None:
        """Say that a call was not answered; `retry_after` is the endpoint's own wish in seconds."""
        self._failures += 1
        if self._trying:
            self._rest = min(2 * self._rest, _LONGEST_REST)
        if self._trying or (self._until is None and self._failures >= _FAILURES):
            self._until = self._clock() + min(max(self._rest, retry_after or 0.0), _LONGEST_REST)
        self._trying = False

    def gave_up(self) -> None:
        """Say that a call was cancelled, so that it proved nothing."""
        self._trying = False
