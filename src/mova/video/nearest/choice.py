"""Choose for each sampling time a frame that is near and costs little to decode.

With a quarter of the sampling period as `slack`, at 1 frame per second:

    time 10.0, slack 0.25:  . . P b b P b b I b b P . . .      in the order of display
                                [- - - 10.0 - - -]             the frames that may be taken

1. a keyframe: nothing before it needs decoding;
2. a frame to which others refer: nearest to the time, because all of them up to the next time are decoded anyway. If no
   other time is in this group of pictures, the first in the order of decoding: those after it are not decoded;
3. the frame on display at the time, as without slack. So it is also where the step between frames is long, at the
   beginning and at the end of the file.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mova.video.sampling import TOLERANCE

LONG = 1.0
"""Seconds between two frames from which the frame on display is taken: pictures may be missing there."""


class Candidate(Protocol):
    """A frame that is not decoded yet.

    Attributes:
        pts: seconds.
        packet: PyAV's packet.
        reference: whether other frames may refer to it.
    """

    pts: float
    packet: Any
    reference: bool


@dataclass
class Nearest:
    """The choices for the sampling times of one pass over a file.

    Args:
        slack: seconds by which a frame may differ from its sampling time; below half of the sampling period.
        need: returns the earliest needed time at or after a time; infinity if there is none.
        last: last sampling time. Later needed times only mean that the file is decoded up to there.
    """

    slack: float
    need: Callable[[float], float]
    last: float
    _chosen: dict[float, float | None] = field(default_factory=dict)
    """Sampling time -> time of the chosen frame, or None for the frame on display."""
    _pending: set[float] = field(default_factory=set)
    """Times of chosen frames that were not read yet."""

    def choose(self, time: float, times: Sequence[float], waiting: Mapping[float, Candidate]) -> float | None:
        """Return the time of the frame for a sampling time; None for the frame on display. The first answer is kept.

        Args:
            time: seconds.
            times: times of the frames that are known, in seconds, rising.
            waiting: those that can still be decoded, by time, in the order of decoding.
        """
        if time not in self._chosen:
            chosen = self._chosen[time] = self._choose(time, times, waiting)
            if chosen is not None:
                self._pending.add(chosen)
        return self._chosen[time]

    def _choose(self, time: float, times: Sequence[float], waiting: Mapping[float, Candidate]) -> float | None:
        on_display = bisect_right(times, time + TOLERANCE) - 1
        if on_display < 0 or on_display + 1 >= len(times) or times[on_display + 1] - times[on_display] > LONG:
            return None
        near = slice(
            bisect_left(times, time - self.slack + TOLERANCE), bisect_right(times, time + self.slack - TOLERANCE)
        )
        allowed = [waiting[pts] for pts in times[near] if pts in waiting]
        keys = [frame.pts for frame in allowed if frame.packet.is_keyframe]
        if keys:
            return min(keys, key=lambda pts: abs(pts - time))
        references = {frame.pts for frame in allowed if frame.reference}
        if not references:
            return None
        if self._ends_group(time, waiting):
            return next(pts for pts in waiting if pts in references)
        return min(references, key=lambda pts: (abs(pts - time), pts))

    def _ends_group(self, time: float, waiting: Mapping[float, Candidate]) -> bool:
        """Return whether the next group begins before, or within the slack of, the next needed time."""
        following = self.need(time + 2 * TOLERANCE)
        return following == math.inf or any(
            frame.packet.is_keyframe and time < frame.pts < following + self.slack - TOLERANCE
            for frame in waiting.values()
        )

    def served(
        self, pts: float, since: float, until: float, choose: Callable[[float], float | None]
    ) -> tuple[tuple[float, ...], bool]:
        """Return the sampling times for which a frame is decoded, and whether it is needed at all.

        Args:
            pts: time of the frame, in seconds.
            since, until: when it is on display.
            choose: `choose` with the frames that are known now.
        """
        times = []
        time = self.need(pts - self.slack)
        if time <= min(self.last, pts + self.slack) and choose(time) == pts:
            times.append(time)
        time = self.need(since)
        while time + TOLERANCE < until and time <= self.last:
            if choose(time) is None:
                times.append(time)
            time = self.need(time + 2 * TOLERANCE)
        return tuple(sorted(times)), bool(times) or time + TOLERANCE < until

    def passed(self, pts: float) -> None:
        """Note that the frame at a time was read."""
        self._pending.discard(pts)

    def next_time(self, low: float) -> float:
        """Return the earliest time from which frames are still needed, if all before `low` were read."""
        if self._pending:
            return min(self._pending)
        time = self.need(low - self.slack)
        while time <= self.last and self._chosen.get(time) is not None:
            time = self.need(time + 2 * TOLERANCE)
        return time if time > self.last else max(low, time - self.slack)
