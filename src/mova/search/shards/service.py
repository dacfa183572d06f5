"""An index on another machine, read through `mova serve --shard`: the interface of a search, over HTTP.

The search itself runs here, as for an index in a folder: the service names the frames nearest to a vector and sends the
frames of videos, so that answers, thresholds and rates are the same. What was sent stays in memory while the index does
not change. Videos are named by their machine, too (`mova.utils.files.named_by_machine`), because two machines may have
different files by one path.

Shape legend: d width of the model's space.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from mova.errors import MovaError
from mova.search.cold.state import copy_folder
from mova.search.shards.wire import FORMAT, MOST_CONTENTS, ROOT, STATE, contents_of, unpacked_frames, unpacked_records
from mova.search.storage.damage import FixedState
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.utils.batching import batches
from mova.utils.files import named_by_machine

if TYPE_CHECKING:
    from urllib.error import HTTPError

TOKEN_VARIABLE = "MOVA_TOKEN"
SECONDS = 130.0
"""Time to wait for an answer: a service says after 120 seconds that it is busy."""
MOST_BYTES = 2 << 30
"""Largest answer that is read, about that of the records of a million videos."""
REFUSAL_BYTES = 1 << 16
"""Bytes of a refusal that are read."""
FRESH = 1.0
"""Seconds in which a service is not asked again whether its index was changed: a search looks several times."""
BATCH_FRAMES = 16_384
"""Frames that are requested at a time, about."""
KEPT_FRAMES = 1 << 17
"""Frames that stay in memory; the oldest are dropped."""


class ServiceReader(FixedState):
    """The present state of the index of a service; see `mova.search.narrow.selection.Reader` for its methods."""

    exists, mapped = True, False
    folder = connection = None

    def __init__(self, uri: str, document: Mapping[str, Any]) -> None:
        self.uri = uri
        self.kept = copy_folder(uri)
        self.state = str(document[STATE])
        self._asked = time.monotonic()
        self.meta = Meta(**document["meta"])
        sent = unpacked_records(_ask(uri, "/records", {STATE: self.state}), self.meta.dim)
        named = ((named_by_machine(uri, path), record) for path, record in sent.items())
        self._records = {name: replace(record, path=name) for name, record in named}
        self._sizes = self._counted()
        self._chosen: Sequence[str] | None = None
        self._frames: OrderedDict[str, StoredFrames] = OrderedDict()

    @classmethod
    def open(cls, uri: str, last: ServiceReader | None = None) -> Self:
        """Return the present state of an index.

        Args:
            uri: address of the service.
            last: what was opened before; returned again if nothing changed, or if that was asked just now.

        Raises:
            MovaError: the service cannot be reached, refuses, or offers no index.
        """
        now = time.monotonic()
        if isinstance(last, cls) and now - last._asked < FRESH:
            return last
        try:
            document = json.loads(_ask(uri, ""))
            if document["format"] != FORMAT:
                raise MovaError(f"{uri}: runs another version of mova, which cannot be asked for its vectors")
            if isinstance(last, cls) and last.state == document[STATE]:
                last._asked = now
                return last
            return cls(uri, document)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _not_understood(uri, error) from error

    def restricted(self, records: Mapping[str, VideoRecord]) -> ServiceReader:
        """Return some of the videos; frames that were sent are shared."""
        part = copy.copy(self)
        part._records, part._chosen = dict(records), contents_of(records)
        part._sizes = part._counted()
        return part

    def _counted(self) -> dict[str, int]:
        """Return about how many vectors are read of each content."""
        return {record.content: self.meta.frames_of(record) for record in self._records.values()}

    def records(self) -> dict[str, VideoRecord]:
        """Return the records of all paths, in order of path."""
        return self._records

    def count_frames(self) -> int:
        """Return the number of stored frames."""
        return sum({record.content: record.frames for record in self._records.values()}.values())

    def fetch(self, contents: Sequence[str]) -> dict[str, StoredFrames]:
        """Return the stored frames of contents, by content; contents that are not stored are left out.

        Raises:
            MovaError: the service is gone, or its index was changed.
        """
        found = {content: self._frames[content] for content in contents if content in self._frames}
        missing = [content for content in contents if content in self._sizes and content not in found]
        for batch in batches(missing, self._sizes.__getitem__, BATCH_FRAMES):
            data = _ask(self.uri, "/frames", {STATE: self.state, "contents": batch})
            try:
                sent = unpacked_frames(data, self.meta.dim)
                if not set(batch).issuperset(sent):
                    raise ValueError("frames that were not requested")
            except (ValueError, LookupError, TypeError) as error:
                raise _not_understood(self.uri, error) from error
            found |= sent
        self._keep(found)
        return {content: found[content] for content in contents if content in found}

    def _keep(self, found: Mapping[str, StoredFrames]) -> None:
        for content, part in found.items():
            self._frames[content] = part
            self._frames.move_to_end(content)
        kept = sum(len(part.times) for part in self._frames.values())
        while kept > KEPT_FRAMES and self._frames:
            kept -= len(self._frames.popitem(last=False)[1].times)

    def nearest(self, query: npt.NDArray[np.float32], limit: int, /) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Return the contents of the frames nearest to a unit vector (d,), and their cosines, best first.

        Raises:
            MovaError: the service is gone, or its index was changed.
        """
        limit = max(1, min(int(limit), self.count_frames()))
        request = {STATE: self.state, "query": query.tolist(), "limit": limit}
        chosen, most = self._chosen, MOST_CONTENTS
        asked = range(0, len(chosen or ()), most)
        parts = [None] if chosen is None else [chosen[first : first + most] for first in asked]
        found = [self._nearest({**request, "contents": part}) for part in parts]
        contents = [content for part, _ in found for content in part]
        cosines = np.concatenate([np.empty(0, np.float32), *(part for _, part in found)])
        near = np.argsort(-cosines, kind="stable")[:limit]
        return [contents[i] for i in near.tolist()], cosines[near]

    def _nearest(self, request: Mapping[str, Any]) -> tuple[list[str], npt.NDArray[np.float32]]:
        try:
            document = json.loads(_ask(self.uri, "/nearest", request))
            contents, cosines = list(map(str, document["contents"])), np.array(document["cosines"], np.float32)
            known = self._sizes.keys() >= set(contents)
            if not known or cosines.shape != (len(contents),) or not np.all(np.abs(cosines) < 1.1):
                raise ValueError("not the nearest frames")
        except (ValueError, LookupError, TypeError) as error:
            raise _not_understood(self.uri, error) from error
        return contents, cosines


def _ask(uri: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
    """Send a request to a service; return the bytes of the answer.

    Raises:
        MovaError: the service refuses it, cannot be reached, or sends too much; the token cannot be sent.
    """
    from http.client import HTTPException  # here, so that a command without a service starts fast
    from urllib.error import HTTPError, URLError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class NoRedirect(HTTPRedirectHandler):
        """Follows no redirect, so that the token reaches nobody else."""

        def redirect_request(self, *_: Any, **__: Any) -> None:
            """Refuse."""

    request = Request(f"{uri.rstrip('/')}{ROOT}{path}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if token := os.environ.get(TOKEN_VARIABLE, "").strip():
        if not (token.isascii() and token.isprintable()):  # else the error of the header would show it
            raise MovaError(f"{uri}: the token in {TOKEN_VARIABLE} has characters that no token has; check it")
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with build_opener(NoRedirect).open(request, timeout=SECONDS) as answer:
            too_large = (answer.length or 0) > MOST_BYTES
            data: bytes = b"" if too_large else answer.read(MOST_BYTES + 1)
            if answer.length and not too_large:
                raise OSError("the answer broke off")
    except HTTPError as error:
        raise MovaError(f"{uri}: {_refusal(error)}") from error
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise MovaError(f"{uri}: cannot be reached ({reason}); is `mova serve --shard` running there?") from error
    if too_large or len(data) > MOST_BYTES:
        raise MovaError(f"{uri}: sends more than {MOST_BYTES >> 20} MB at once; divide its index among several")
    return data


def _refusal(error: HTTPError) -> str:
    """Return what a refusal means, and what to do."""
    if error.code == 401:
        return f"needs its token in {TOKEN_VARIABLE}"
    if error.code == 404:
        return "does not offer its index to other machines; start it with `mova serve --shard`"
    from http.client import HTTPException

    try:
        message = str(json.loads(error.read(REFUSAL_BYTES))["error"]["message"])[:500]
        return " ".join("".join(letter if letter.isprintable() else " " for letter in message).split())
    except (ValueError, LookupError, TypeError, OSError, HTTPException):
        return f"answers with status {error.code}"


def _not_understood(uri: str, error: Exception) -> MovaError:
    return MovaError(f"{uri}: does not answer as `mova serve --shard` does ({str(error)[:160]})")
