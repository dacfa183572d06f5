"""The least typical moments of an index, or of the answers to a query.

Every frame is compared with the frames of all videos, except for those of its own video that are close in time
(`mova.scoring.outliers`). The scores over time of each video have peaks, which are the moments. What stands out without
showing anything (black, white, and pictures of one color) is left out, and a video has few moments among the first.

Shape legend: T frames, d width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError, VideoError
from mova.scoring.outliers import APART, METHODS, Method, outlier_scores
from mova.scoring.spans import peaks
from mova.search.evidence import Answer
from mova.search.narrow.selection import Reader, meta_of
from mova.search.storage.records import BATCH_FRAMES, StoredFrames, VideoRecord
from mova.types import Frames, Moment
from mova.utils.batching import batches
from mova.utils.numbers import require_whole
from mova.video.isolated import Isolated
from mova.video.reader import read_times

MOST_FRAMES = 20_000
"""Frames that are compared, each with each. Of a larger index, every second, third, ... frame is."""
PER_VIDEO = 3
"""Moments of one video among the first, unless there are not enough others."""
LEAST_CONTRAST = 10.0
"""Standard deviation of brightness, of 255, below which a picture shows nothing."""
SHORT_SIDE = 64
"""Pixels of the pictures whose contrast is measured."""
ANSWERS = 200
"""Moments of a query that are compared with each other, at least."""
NEAREST = 5
"""If nothing shows the query, this many times as many nearest moments are compared as are returned."""

_F32 = npt.NDArray[np.float32]


def find(
    store: Reader,
    search: Callable[[int], Answer] | None,
    k: int,
    *,
    method: Method,
    per_video: int,
    skip_blank: bool,
) -> Answer:
    """Return the least typical moments; see `mova.search.index.Index.highlights`.

    Args:
        store: the index.
        search: number of moments -> the answer to a query, whose moments are compared with each other; None: all
            frames are compared.
        k: return at most k moments.
        method: see `mova.scoring.outliers.outlier_scores`.
        per_video: moments of one video, while there are enough others.
        skip_blank: leave out moments whose picture is black, white, or of one color.

    Raises:
        UsageError: k or `per_video` is below 1, or an unknown method.
    """
    require_method(method)
    for name, value in (("k", k), ("per_video", per_video)):
        require_whole(name, value, 1)
    candidates, answer = _candidates(store, search, k, method)
    if skip_blank:
        with Isolated() as decoder:
            chosen = choose(candidates, k, per_video, blank_test(decoder))
    else:
        chosen = choose(candidates, k, per_video, lambda _: False)
    found = Answer(chosen, answer.background, answer.bar, candidates=answer)
    found.compared = None if search is None else len(candidates)
    return found


def _candidates(
    store: Reader, search: Callable[[int], Answer] | None, k: int, method: Method
) -> tuple[list[Candidate], Answer]:
    """Return candidates, and the answer they are from (without evidence if there was no query).

    Moments that are no evidence are candidates only if the answer has none that are: then the nearest ones.
    """
    if search is None:
        return of_index(store, method, k), Answer()
    answer = search(max(ANSWERS, 10 * k))
    shown = [moment for moment in answer if moment.evidence != "none"] or list(answer[: NEAREST * k])
    return of_moments(store, shown, method), answer


class Candidate(NamedTuple):
    """A moment, and the second at which it is least typical."""

    moment: Moment
    peak: float


def require_method(method: str) -> None:
    """Raise if there is no such way to find outliers.

    Raises:
        UsageError: it is unknown.
    """
    if method not in METHODS:
        raise UsageError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")


def of_index(store: Reader, method: Method, limit: int) -> list[Candidate]:
    """Return the peaks of all videos, least typical first, at most `limit` per video.

    A content that is stored under several paths is one video. Frames without neighbors (of the only video, if it is
    shorter than `APART`) are no candidates.
    """
    records = list({record.content: record for record in store.records().values()}.values())
    total = sum(map(store.meta.frames_of, records))
    stride = max(1, ceil(total / MOST_FRAMES))
    step = stride * store.meta.step
    kept: list[tuple[VideoRecord, StoredFrames]] = []
    for batch in batches(records, store.meta.frames_of, BATCH_FRAMES):
        stored = store.fetch([record.content for record in batch])
        for record in batch:
            frames = stored.get(record.content)
            if frames is not None and len(frames.times):
                own = meta_of(store, record.content)
                step = max(step, stride * own.step, frames.step(own))
                part = frames[::stride]
                kept.append((record, StoredFrames(part.times, part.vectors.copy(), part.windows)))
    if not kept:
        return []
    numbers = np.repeat(np.arange(len(kept)), [len(frames.times) for _, frames in kept])
    vectors = np.concatenate([frames.vectors for _, frames in kept])
    times = np.concatenate([frames.times for _, frames in kept])
    scores = outlier_scores(vectors, numbers, times, method=method, apart=max(APART, step))
    found: list[Candidate] = []
    for number, (record, frames) in enumerate(kept):
        curve = scores[numbers == number]
        if not np.all(np.isfinite(curve)):
            continue
        for span in peaks(curve, frames.times, record.duration, limit, step=step):
            inside = np.flatnonzero((frames.times >= span.span.start) & (frames.times < span.span.end))
            best = inside[curve[inside].argmax()] if len(inside) else int(np.abs(curve - span.score).argmin())
            moment = Moment(record.path, span.span.start, span.span.end, span.score)
            found.append(Candidate(moment, float(frames.times[best])))
    return sorted(found, key=lambda candidate: -candidate.moment.score)


def of_moments(store: Reader, moments: Sequence[Moment], method: Method) -> list[Candidate]:
    """Return moments with how untypical each is among them, least typical first.

    A moment is compared by the mean of its frames. One without others to compare with is left out.
    """
    records = store.records()
    contents = {moment.video: records[moment.video].content for moment in moments if moment.video in records}
    stored = store.fetch(list(dict.fromkeys(contents.values())))
    known = [m for m in moments if contents.get(m.video) in stored]
    known.sort(key=lambda m: (m.video, m.start + m.end))
    if not known:
        return []
    vectors = np.stack([_mean(stored[contents[moment.video]], moment) for moment in known])
    videos = np.unique([moment.video for moment in known], return_inverse=True)[1]
    middles = np.array([(moment.start + moment.end) / 2 for moment in known])
    scores = outlier_scores(vectors, videos, middles, method=method)
    found = [
        Candidate(replace(moment, score=float(score)), (moment.start + moment.end) / 2)
        for moment, score in zip(known, scores, strict=True)
        if np.isfinite(score)
    ]
    return sorted(found, key=lambda candidate: -candidate.moment.score)


def _mean(frames: StoredFrames, moment: Moment) -> _F32:
    """Return the unit vector (d,) of the mean of a moment's frames; of the nearest frame if it has none."""
    inside = (frames.times >= moment.start) & (frames.times < moment.end)
    if not inside.any():
        inside[np.abs(frames.times - moment.start).argmin()] = True
    mean = frames.vectors[inside].mean(axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def choose(
    candidates: Iterable[Candidate], k: int, per_video: int, is_blank: Callable[[Candidate], bool]
) -> list[Moment]:
    """Return the first k candidates, without blank ones, and at most `per_video` of a video while there are others.

    Example:
        >>> rows = [Candidate(Moment(video, 0.0, 1.0, score), 0.5) for video, score in (("a", 3), ("a", 2), ("b", 1))]
        >>> [moment.score for moment in choose(rows, 2, 1, lambda candidate: False)]
        [3, 1]
    """
    chosen: list[Moment] = []
    spare: list[Candidate] = []
    count: Counter[str] = Counter()
    for candidate in candidates:
        video = candidate.moment.video
        if len(chosen) == k:
            break
        if count[video] >= per_video:
            spare.append(candidate)
        elif not is_blank(candidate):
            count[video] += 1
            chosen.append(candidate.moment)
    for candidate in spare:
        if len(chosen) == k:
            break
        if not is_blank(candidate):
            chosen.append(candidate.moment)
    return sorted(chosen, key=lambda moment: -moment.score)


def blank_test(decoder: Isolated | None = None) -> Callable[[Candidate], bool]:
    """Return a function that tells whether a candidate shows nothing; a video that cannot be read may show something.

    Args:
        decoder: decodes in a child process; None: directly.
    """
    read: Callable[..., Frames] = read_times if decoder is None else decoder.read_times

    def is_blank(candidate: Candidate) -> bool:
        """Return whether its picture has next to no contrast; not if it cannot be read."""
        try:
            frames = read(candidate.moment.video, [candidate.peak], short_side=SHORT_SIDE, skip_gaps=True)
        except (VideoError, UsageError):
            return False
        return bool(len(frames)) and contrast(frames) < LEAST_CONTRAST

    return is_blank


def contrast(frames: Frames) -> float:
    """Return the standard deviation of brightness, from 0 to 127.5.

    Example:
        >>> contrast(Frames(np.zeros((1, 4, 4, 3), np.uint8), np.zeros(1)))
        0.0
    """
    return float(frames.pixels.astype(np.float32).mean(axis=-1).std())
