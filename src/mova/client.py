"""A client of `mova serve`: search, align and fetch clips over HTTP, in a few lines and without other packages.

client = Client()
for moment in client.search("a man pours tea"):
    print(moment.video.name, moment.start, moment.end, moment.evidence)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from mova.errors import MovaError, UsageError
from mova.utils.replacing import replacing

PAGE = 100
CHUNK = 1 << 20
TOKEN_VARIABLE = "MOVA_TOKEN"


class ServiceError(MovaError):
    """The service refuses a request, or cannot be reached. `status` is that of HTTP, 0 if there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Video:
    """An indexed video.

    Attributes:
        id: by which the service names it.
        name: file name.
        folder: folder, from the folder that holds all videos.
        duration: seconds.
    """

    id: str
    name: str
    folder: str
    duration: float

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Video:
        """Return the video of a document of the API."""
        return cls(document["id"], document["name"], document["folder"], document["duration"])


@dataclass(frozen=True)
class FoundMoment:
    """A part of a video that matches a query.

    Attributes:
        video: the video.
        start, end: seconds.
        score: higher is better; comparable within one model only.
        false_alarm: how often a text that no video shows finds a moment that scores this high, if it was measured.
        evidence: "strong", "weak" or "none", likewise.
    """

    video: Video
    start: float
    end: float
    score: float
    false_alarm: float | None = None
    evidence: str | None = None


@dataclass(frozen=True)
class AlignedSpan:
    """A part of a video that a sentence describes.

    Attributes:
        start, end: seconds.
        posterior: probability that a moment of it shows the sentence, if it was computed.
    """

    start: float
    end: float
    posterior: float | None


@dataclass(frozen=True)
class AlignedSentence:
    """A sentence of a caption.

    Attributes:
        text: the sentence.
        shown: probability that the video shows it, if it was computed.
        spans: the parts of the video that it describes.
    """

    text: str
    shown: float | None
    spans: tuple[AlignedSpan, ...]


@dataclass(frozen=True)
class ScoredText:
    """The score of a caption for a video.

    Attributes:
        text: the caption.
        score: of the caption as a whole; comparable within one model only.
        sentences: its sentences, each with its highest cosine.
    """

    text: str
    score: float
    sentences: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Job:
    """Long work of the service, such as the indexing of a folder.

    Attributes:
        id: by which the service names it.
        name: the folder or file; empty if all folders are read again.
        state: "queued", "running", "paused", "done", "failed" or "cancelled".
        done, total: seconds of video.
        message: why it failed.
    """

    id: str
    name: str
    state: str
    done: float
    total: float
    message: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Job:
        """Return the job of a document of the API."""
        return cls(*(document[item.name] for item in fields(cls)))


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect, so that the token reaches nobody else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse."""


class Client:
    """A connection to a running `mova serve`.

    Args:
        url: address of the service.
        token: secret of the service; default: that of the environment (`MOVA_TOKEN`), if any.
        timeout: seconds to wait for an answer.

    Raises:
        UsageError: this is not an address.
    """

    def __init__(self, url: str = "http://127.0.0.1:8765", token: str | None = None, timeout: float = 120.0) -> None:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise UsageError(f"{url}: is not an address such as http://127.0.0.1:8765")
        self._root = f"{url.rstrip('/')}/api/v1"
        self._token = token or os.environ.get(TOKEN_VARIABLE, "").strip()
        self._timeout = timeout
        self._opener = build_opener(_NoRedirect)

    def health(self) -> dict[str, Any]:
        """Return state, version and model of the service."""
        return self._document("GET", "/health")

    def search(
        self,
        text: str = "",
        k: int = 10,
        *,
        like: tuple[Video, float] | None = None,
        by: str | None = None,
        one_per_video: bool = False,
        false_alarm: float | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> list[FoundMoment]:
        """Return the k best moments, best first.

        Args:
            text: a sentence or a paragraph; may be empty with `like`.
            k: return at most k moments.
            like: a video and a time in seconds; the moments resemble its picture.
            by: what they have in common with it, without a text: a concept, or its values with commas between them.
            one_per_video: only the best moment of each video.
            false_alarm: highest false-alarm rate that counts as evidence.
            filter: which videos are searched: `folders` (as in `Video.folder`), `after`, `before`, `longer`, `shorter`.
        """
        body: dict[str, Any] = {"query": text, "one_per_video": one_per_video}
        if like is not None:
            body["like"] = {"video": like[0].id, "time": like[1]}
        if by is not None:
            body["by"] = by
        if filter is not None:
            body["filter"] = dict(filter)
        if false_alarm is not None:
            body["false_alarm"] = false_alarm
        rows = self._pages("POST", "/search", body, "results", k)
        return [
            FoundMoment(
                Video.of(row["video"]),
                row["start"],
                row["end"],
                row["score"],
                row.get("false_alarm"),
                row.get("evidence"),
            )
            for row in rows
        ]

    def videos(self, name: str = "") -> list[Video]:
        """Return the indexed videos in order of path; `name` is a part of the name or folder."""
        return [Video.of(row) for row in self._pages("GET", "/videos", {"name": name}, "videos", None)]

    def align(self, video: Video, caption: str, order: str = "auto") -> list[AlignedSentence]:
        """Find the seconds of a video that each sentence of a caption describes.

        Args:
            video: from `videos` or a found moment.
            caption: one or more sentences.
            order: whether the sentences are in temporal order: "auto", "yes" or "no".
        """
        document = self._document("POST", f"/videos/{video.id}/align", {"text": caption, "order": order})
        return [
            AlignedSentence(
                row["text"],
                row["shown"],
                tuple(AlignedSpan(span["start"], span["end"], span.get("posterior")) for span in row["spans"]),
            )
            for row in document["sentences"]
        ]

    def score(self, video: Video, texts: Sequence[str]) -> list[ScoredText]:
        """Score how well a video shows each of some captions.

        Args:
            video: from `videos` or a found moment.
            texts: captions of one or more sentences.
        """
        document = self._document("POST", "/score", {"video": video.id, "texts": list(texts)})
        return [
            ScoredText(row["text"], row["score"], tuple((part["text"], part["score"]) for part in row["sentences"]))
            for row in document["scores"]
        ]

    def upload(self, path: str | Path) -> str:
        """Send a video to a service that takes them (`mova serve --uploads`); return the id of the job that indexes it.

        Raises:
            ServiceError: the service takes none, refuses this one, or cannot be reached.
            OSError: the file cannot be read.
        """
        with open(path, "rb") as file:
            address = f"/uploads?{urlencode({'name': Path(path).name})}"
            length = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
            with self._open("POST", address, data=file, headers=length) as answer:
                return str(json.loads(self._read(answer))["id"])

    def jobs(self) -> list[Job]:
        """Return the jobs, the newest first."""
        return [Job.of(row) for row in self._pages("GET", "/jobs", {}, "jobs", None)]

    def job(self, name: str) -> Job:
        """Return a job by id."""
        return Job.of(self._document("GET", f"/jobs/{quote(name, safe='')}"))

    def thumbnail(self, video: Video, time: float) -> bytes:
        """Return the frame on display at a time (seconds), as JPEG."""
        with self._open("GET", f"/videos/{video.id}/thumbnail?{urlencode({'t': time})}") as answer:
            return self._read(answer)

    def save_clip(self, moment: FoundMoment, path: str | Path) -> Path:
        """Save a moment as an MP4 file. If the connection breaks off, an earlier file of that name is kept.

        Raises:
            ServiceError: the service refuses it, cannot be reached, or sends only a part of the file.
        """
        values = urlencode({"start": moment.start, "end": moment.end})
        return self._save(path, "GET", f"/videos/{moment.video.id}/clip?{values}")

    def export(self, moments: Sequence[FoundMoment], path: str | Path, label: str = "") -> Path:
        """Save moments as clips (`.zip`), or their times as `.csv`, `.edl`, `.otio` or `.srt`.

        Args:
            moments: in their order.
            path: file to write; its suffix is the format.
            label: name of the moments, such as the text that found them.

        Raises:
            ServiceError: the service refuses it, cannot be reached, or sends only a part of the file.
        """
        rows = [{"video": m.video.id, "start": m.start, "end": m.end, "label": label} for m in moments]
        kind = Path(path).suffix.removeprefix(".").lower()
        return self._save(path, "POST", "/exports", {"format": kind, "moments": rows})

    def _save(self, path: str | Path, method: str, address: str, body: Any = None) -> Path:
        with (
            self._open(method, address, body) as answer,
            replacing(path) as temporary,
            temporary.open("wb") as file,
        ):
            while data := self._read(answer, CHUNK):
                file.write(data)
            size = answer.headers["Content-Length"]
            if size is not None and file.tell() != int(size):
                raise ServiceError(
                    f"{self._root}: the connection broke off after {file.tell():,} of {int(size):,} bytes"
                )
        return Path(path)

    def _pages(
        self, method: str, path: str, values: Mapping[str, Any], key: str, most: int | None
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of all pages, at most `most`."""
        cursor, count = None, 0
        while most is None or count < most:
            limit = PAGE if most is None else min(PAGE, most - count)
            page = {**values, "limit": limit} | ({} if cursor is None else {"cursor": cursor})
            if method == "GET":
                document = self._document("GET", f"{path}?{urlencode(page)}")
            else:
                document = self._document(method, path, page)
            yield from document[key]
            count += len(document[key])
            cursor = document.get("next")
            if cursor is None:
                return

    def _document(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        with self._open(method, path, body) as answer:
            content = self._read(answer)
            try:
                document: dict[str, Any] = json.loads(content)
            except ValueError as error:
                raise ServiceError(f"{self._root}: does not answer as `mova serve` does") from error
        return document

    def _read(self, answer: HTTPResponse, most: int | None = None) -> bytes:
        """Return the next bytes of an answer, at most `most`; empty at its end.

        Raises:
            ServiceError: the connection broke off.
        """
        try:
            return answer.read(most)
        except (HTTPException, OSError) as error:
            raise ServiceError(f"{self._root}: the connection broke off ({error})") from error

    def _open(
        self, method: str, path: str, body: Any = None, *, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> HTTPResponse:
        """Send a request, with a document (`body`) or a file (`data`).

        Raises:
            ServiceError: the service refuses it, or cannot be reached.
        """
        request = Request(f"{self._root}{path}", data, dict(headers or {}), method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            answer: HTTPResponse = self._opener.open(request, timeout=self._timeout)
        except HTTPError as error:
            raise ServiceError(_message(error), error.code) from error
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            raise ServiceError(f"{self._root}: cannot be reached ({reason}); start it with `mova serve`") from error
        return answer


def _message(error: HTTPError) -> str:
    """Return the message of a refusal."""
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"the service answers with status {error.code}"
