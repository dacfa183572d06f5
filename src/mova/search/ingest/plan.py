"""Which files a run of indexing reads, with which model and settings: decided before anything is written."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mova.errors import UsageError
from mova.models.encoder import DualEncoder
from mova.scoring.windows.rule import WindowRule
from mova.scoring.windows.stretches import require_novelty
from mova.search.ingest.report import describe_passed_over
from mova.search.storage.records import EXACT, NEAREST, SCHEMA_VERSION, WINDOWS_VERSION, Meta, VideoRecord
from mova.search.storage.sources import Root, Sources
from mova.search.storage.store import Store
from mova.utils.files import SUFFIXES, find_videos, is_below, surely_gone

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class IngestPlan:
    """The files, model and settings of a run, decided before anything is written.

    Attributes:
        roots: the requested files and folders, absolute.
        files: the video files among and below them, absolute.
        model: the encoder.
        meta: how frames will be embedded; an existing index must agree.
        passed_over: number of files in the folders that are not known as videos, by suffix, most common first.
        all_files: whether files of any suffix are tried.
        is_update: whether the roots are those that the index already has.
        forgotten: files that are not read.
    """

    roots: tuple[Path, ...]
    files: tuple[str, ...]
    model: DualEncoder
    meta: Meta
    passed_over: dict[str, int] = field(default_factory=dict)
    all_files: bool = False
    is_update: bool = False
    forgotten: frozenset[str] = frozenset()

    @property
    def window(self) -> WindowRule:
        """Frames per vector, and stride."""
        return WindowRule(self.meta.window, self.meta.stride)


def make_plan(
    store: Store,
    paths: Iterable[str | Path],
    load_model: Callable[[], DualEncoder],
    fps: float | None = None,
    *,
    all_files: bool = False,
    exact: bool | None = None,
    stride: float | None = None,
    novelty: float | None = None,
) -> IngestPlan:
    """List the video files among and below paths, then load the model and decide on the frame rate.

    Args:
        store: the index.
        paths: video files, or folders to walk.
        load_model: called only if the paths exist, so that a wrong path is reported at once.
        fps: sampled frames per second (default: the index's own rate, and for a new index the model's).
        all_files: try every file in the folders, with any suffix.
        exact: whether the frames on display at the sampling times are decoded, or ones near them that cost less
            (default: as in the index; a new one is exact only if the model reads motion).
        stride: seconds from one window to the next, for encoders of windows (default: that of the index, else of the
            model).
        novelty: see `Meta` (default: that of the index, else 0).

    Raises:
        UsageError: a path does not exist, a new index has no videos, or the frame rate, the stride or the novelty is
            not possible.
    """
    roots = tuple(Path(path).resolve() for path in paths)
    passed_over: Counter[str] = Counter()
    files = tuple(map(str, find_videos(roots, None if all_files else SUFFIXES, passed_over)))
    if not files and not store.exists:
        others = f" ({describe_passed_over(passed_over)})" if passed_over else ""
        raise UsageError(
            f"no videos in {', '.join(map(str, roots))}{others}; name video files or folders that contain some"
        )
    model = load_model()
    rate = store.meta.frame_rate if fps is None and store.exists else model.sampling_rate(fps)
    if exact is None:
        reads_motion = model.context > 0 or model.fixed_frame_rate or not model.window.is_picture
        exact = store.meta.sampling == EXACT if store.exists else reads_motion
    sampling, window = EXACT if exact else NEAREST, _window(store, model, float(rate), stride)
    meta = Meta(
        *(model.name, model.fingerprint(), model.embedding_dim, float(rate)),
        sampling=sampling,
        window=window.frames,
        stride=window.stride,
        novelty=_novelty(store, model, novelty),
    )
    meta = replace(meta, schema=WINDOWS_VERSION if meta.has_windows else SCHEMA_VERSION)
    return IngestPlan(roots, files, model, meta, dict(passed_over.most_common()), all_files)


def _window(store: Store, model: DualEncoder, rate: float, stride: float | None) -> WindowRule:
    """Return the windows to encode: the requested stride, or that of the index, or that of the model.

    Raises:
        UsageError: a stride for an encoder of single frames, or one that is not possible.
    """
    frames = model.window.frames
    if stride is None:
        known = store.exists and store.meta.window == frames
        return WindowRule(frames, store.meta.stride) if known else model.window
    if model.window.is_picture:
        raise UsageError(f"{model.name}: encodes single frames, which have no stride; choose their number with --fps")
    if not (math.isfinite(stride) and round(stride * rate) >= 1):
        raise UsageError(f"a stride must be at least one sampling step of {1 / rate:g} s, not {stride:g} s")
    return WindowRule(frames, round(stride * rate))


def _novelty(store: Store, model: DualEncoder, novelty: float | None) -> float:
    """Return the novelty of stored stretches: the requested one, or that of the index; 0 stores every frame.

    Raises:
        UsageError: one that is not possible, or for an encoder of windows.
    """
    if novelty is None:
        return store.meta.novelty if store.exists else 0.0
    if novelty == 0:
        return 0.0
    if not model.window.is_picture:
        raise UsageError(f"{model.name}: sees several frames at once; a novelty is for encoders of single frames")
    return require_novelty(novelty)


def plan_update(
    store: Store, roots: Sequence[Root], sources: Sources, load_model: Callable[[], DualEncoder]
) -> IngestPlan:
    """List the video files among and below the files and folders that an index was made from; see `make_plan`.

    A folder that lost all its videos, such as the mount point of a drive, is left out with a warning if another
    remains.
    """
    plans = []
    for all_files in (False, True):
        paths = [root.path for root in roots if root.all_files == all_files]
        if paths:
            plans.append(make_plan(store, paths, load_model, all_files=all_files))
    plan = plans[0]
    for other in plans[1:]:
        files = tuple(sorted({*plan.files, *other.files}))
        plan = replace(plan, roots=plan.roots + other.roots, files=files, all_files=False)
    records = store.records()
    emptied = {root: count for root in plan.roots if (count := count_lost(records, root, plan.files))}
    kept = tuple(root for root in plan.roots if root not in emptied)
    for root, count in emptied.items() if kept else ():
        logger.warning(
            "%s: no longer contains any video, but the index has %d from it; left as it is. Is the drive mounted? "
            "To remove them from the index, use `mova forget %s` with the same --index.",
            *(root, count, root),
        )
    return replace(plan, roots=kept or plan.roots, is_update=True, forgotten=sources.excluded(plan.files))


def count_lost(records: Mapping[str, VideoRecord], root: Path, files: Sequence[str]) -> int:
    """Return the number of indexed files below a folder if all of them are gone and it contains no other video."""
    if not root.is_dir() or any(is_below(file, [root]) for file in files):
        return 0
    inside = [path for path in records if is_below(path, [root])]
    return len(inside) if all(map(surely_gone, inside)) else 0
