"""One split of a manifest, ready for a task of `mova eval`: rows, clips, a scoring form, and rows left out.

Every task encodes each clip once (`mova.eval.tasks.encoding`), scores with a named form
(`mova.eval.tasks.scoring_forms`), and reports which rows could not be measured and why. The fingerprint covers the rows
that were measured: a report on part of a split cannot be compared with one on all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mova.data.manifest import Row, fingerprint, read_manifest
from mova.data.quarantine import without_quarantined
from mova.errors import DataError, UsageError
from mova.eval.protocols import Protocol
from mova.eval.report import Evaluated, ReportHead
from mova.eval.tasks.encoding import GROUP_CLIPS, EncodeRow, Group, Progress, decode_rows, encode_groups
from mova.eval.tasks.scoring_forms import ScoringForm, TextScorer
from mova.models.encoder import DualEncoder
from mova.utils.hashing import digest

TEST_SPLIT = "test"


@dataclass(eq=False)
class EvalSplit:
    """One split of a manifest and the model to evaluate on it.

    Attributes:
        model: a `DualEncoder`, or another model with a name and a fingerprint that fits `encode` and `form`.
        rows: of the split, in the order of the manifest.
        name: of the split.
        others: rows of the other splits.
        encode: encodes a row's clip, see `encoding.EncodeRow`.
        form: scores texts against clips.
        frame_rate: requested frames per second; None if the model decides.
        progress: called after every clip.
        in_flight: clips held in memory at a time.
        quarantined: ids of rows whose clips are not opened. They count as unreadable.
        excluded: id of each row that is not measured -> reason.
    """

    model: Any
    rows: list[Row]
    name: str
    others: list[Row]
    encode: EncodeRow
    form: TextScorer
    frame_rate: float | None
    progress: Progress | None = None
    in_flight: int = GROUP_CLIPS
    quarantined: frozenset[str] = frozenset()
    excluded: dict[str, str] = field(default_factory=dict)

    @property
    def kept(self) -> list[Row]:
        """Rows that have not been excluded so far."""
        return [row for row in self.rows if row.id not in self.excluded]

    def keep(self, usable: Callable[[Row], bool], reason: str) -> list[Row]:
        """Exclude rows that the task cannot use, before anything is encoded, and return the others.

        Raises:
            DataError: no row is left.
        """
        self.excluded |= {row.id: reason for row in self.kept if not usable(row)}
        return self._require_rows()

    def select_task(self, task: str) -> None:
        """Drop the rows of other tasks, as if the manifest did not contain them.

        Raises:
            UsageError: no row of the split is of this task.
        """
        known = sorted({str(row.meta["task"]) for row in self.rows if "task" in row.meta})
        if task not in known:
            raise UsageError(
                f"--task {task!r}: split {self.name!r} has no row of this task; its tasks: {', '.join(known) or 'none'}"
            )
        self.rows, self.others = (
            [row for row in rows if str(row.meta.get("task")) == task] for rows in (self.rows, self.others)
        )

    def select_view(self, view: str) -> None:
        """Measure only the rows with this `meta["view"]`, such as "first"; the classes of the others stay known.

        Raises:
            UsageError: no row of the split has this view.
        """
        known = sorted({str(row.meta["view"]) for row in self.rows if "view" in row.meta})
        if view not in known:
            raise UsageError(
                f"--view {view}: no row of split {self.name!r} has this meta.view; its views: "
                f"{', '.join(known) or 'none'}"
            )
        self.others += [row for row in self.rows if row.meta.get("view") != view and row.id not in self.quarantined]
        self.rows = [row for row in self.rows if row.meta.get("view") == view]

    def groups(self) -> Iterator[Group]:
        """Encode every clip of the kept rows once; exclude quarantined and unreadable ones, with the reason.

        Raises:
            DataError: no row is left.
        """
        self.keep(lambda row: row.id not in self.quarantined, "the quarantine list names it")
        yield from encode_groups(self.kept, self.encode, self.excluded, self.progress, self.in_flight)
        self._require_rows()

    def followed(self, protocol: Protocol) -> Protocol:
        """Return the protocol as it was really followed: `Protocol.incomplete` if rows were excluded."""
        return protocol.incomplete() if self.excluded else protocol

    def head(
        self,
        protocol: Protocol,
        order: str,
        queries: int,
        candidates: int | None,
        truth: Sequence[str],
        **settings: Any,
    ) -> ReportHead:
        """Return the head of a report, once everything is encoded and scored.

        The fingerprint covers the ids and captions of the kept rows, and `truth`: everything else in the rows that
        decides which pairs are correct.
        """
        scores = ReportHead.of_scores(
            self.followed(protocol), digest([fingerprint(self.kept), *truth]), order, queries, candidates
        )
        return self.add_model(scores, protocol, **settings)

    def add_model(self, head: ReportHead, protocol: Protocol, **settings: Any) -> ReportHead:
        """Add model, split, scoring form and excluded rows to the head of a report on scores."""
        form = self.form.to_json() if self.form.used else {}
        cut = {"texts_cut_by_the_model": self.form.cut} if self.form.cut else {}
        videos = {row.id: " + ".join(part.video for part in row.segments) for row in self.rows}
        excluded = ({"id": id, "video": videos[id], "cause": reason} for id, reason in self.excluded.items())
        return replace(
            head,
            settings={
                **self.followed(protocol).to_json(),
                "split": self.name,
                "frame_rate": self.frame_rate,
                **form,
                **settings,
                **cut,
            },
            evaluated=Evaluated(protocol.task, self.model.name, self.model.fingerprint(), tuple(excluded)),
        )

    def _require_rows(self) -> list[Row]:
        if not self.kept:
            id, reason = next(iter(self.excluded.items()))
            raise DataError(
                f"none of the {len(self.rows)} rows of split {self.name!r} can be evaluated; {id!r}: {reason}"
            )
        return self.kept


def open_split(
    model: DualEncoder,
    manifest: str | Path,
    split: str | None = None,
    *,
    form: str | None = None,
    encode: EncodeRow | None = None,
    fps: float | None = None,
    progress: Progress | None = None,
    quarantine: str | Path | None = None,
) -> EvalSplit:
    """Open a split of a manifest for evaluation.

    Args:
        model: encodes texts, and clips unless `encode` does.
        manifest: a `.jsonl` file; paths of videos are relative to its folder.
        split: its name. Default: "test" if present, or the only one.
        form: one of `scoring_forms.FORMS`. Default: the model's own (`scoring_form`).
        encode: returns a row's clip, for example from a feature store. Default: decode the video.
        fps: frames per second to sample when decoding. Default: the model's own rate.
        progress: called after every clip.
        quarantine: a list of `mova data check`; the rows that it names are excluded.

    Raises:
        DataError: the manifest cannot be read.
        UsageError: no such split or form, or several splits and none named.
    """
    encode = encode or decode_rows(model, Path(manifest).resolve().parent, fps)
    rate = model.sampling_rate(fps)
    return make_split(
        model, manifest, split, encode, ScoringForm(model, form or model.scoring_form), rate, progress, quarantine
    )


def make_split(
    model: Any,
    manifest: str | Path,
    split: str | None,
    encode: EncodeRow,
    form: TextScorer,
    frame_rate: float | None,
    progress: Progress | None = None,
    quarantine: str | Path | None = None,
    in_flight: int = GROUP_CLIPS,
) -> EvalSplit:
    """Read a split of a manifest for a model of any kind; see `open_split` and `EvalSplit`."""
    rows = read_manifest(manifest)
    splits = list(dict.fromkeys(row.split for row in rows))
    if split is None and (TEST_SPLIT in splits or len(splits) == 1):
        split = TEST_SPLIT if TEST_SPLIT in splits else splits[0]
    if split not in splits:
        problem = "choose one with --split" if split is None else f"there is no split {split!r}"
        raise UsageError(f"{manifest}: {problem}; it has {', '.join(splits)}")
    quarantined = frozenset(without_quarantined(rows, quarantine)[1])
    inside = [row for row in rows if row.split == split]
    others = [row for row in rows if row.split != split and row.id not in quarantined]
    return EvalSplit(model, inside, split, others, encode, form, frame_rate, progress, in_flight, quarantined)
