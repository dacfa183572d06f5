"""Which files a run of indexing reads, with which model and settings: decided before anything is written."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mova.errors import UsageError
from mova.models.encoder import DualEncoder
from mova.scoring.windows.rule import WindowRule
from mova.scoring.windows.stretches import require_novelty
from mova.search.ingest.listing import Listing, list_files
from mova.search.ingest.report import describe_passed_over
from mova.search.storage.records import EXACT, NEAREST, SCHEMA_VERSION, WINDOWS_VERSION, Meta
from mova.search.storage.sources import Root, Sources
from mova.search.storage.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class IngestPlan:
    """The files, model and settings of a run, decided before anything is written.

    Attributes:
        listing: the requested files and folders, and the videos among and below them.
        model: the encoder.
        meta: how frames will be embedded; an existing index must agree.
        all_files: whether files of any suffix are tried.
        is_update: whether the roots are those that the index already has.
        forgotten: files that are not read.
    """

    listing: Listing
    model: DualEncoder
    meta: Meta
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
    """List the videos among and below paths, then load the model and decide on the frame rate.

    Args:
        store: the index.
        paths: see `mova.search.ingest.listing.list_files`.
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
    listing = list_files(paths, all_files=all_files)
    if not listing.files and not store.exists:
        others = f" ({describe_passed_over(listing.passed_over)})" if listing.passed_over else ""
        raise UsageError(f"no videos in {', '.join(listing.roots)}{others}; name videos or folders that contain some")
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
    return IngestPlan(listing, model, meta, all_files)


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
        plan = replace(plan, listing=plan.listing.joined(other.listing), all_files=False)
    listing, records = plan.listing, store.records()
    emptied = {root: count for root in listing.roots if (count := listing.count_lost(records, root))}
    kept = tuple(root for root in listing.roots if root not in emptied)
    for root, count in emptied.items() if kept else ():
        logger.warning(
            "%s: no longer contains any video, but the index has %d from it; left as it is. Is the drive mounted? "
            "To remove them from the index, use `mova forget %s` with the same --index.",
            *(root, count, root),
        )
    listing = replace(listing, roots=kept or listing.roots)
    return replace(plan, listing=listing, is_update=True, forgotten=sources.excluded(listing.files))
