"""Options that divide a command over several processes or machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.text_to_video.parts import Part

Shard = Annotated[
    str | None, typer.Option(metavar="K/N", help="Do only part K of N; the parts may run at the same time.")
]
Merge = Annotated[
    bool, typer.Option("--merge", help="Join the results of all shards, after checking that they belong together.")
]


def parse_shard(shard: str | None, merge: bool) -> Part | None:
    """Return the part that --shard names.

    Raises:
        UsageError: it has another form, or --merge is also given.
    """
    if shard is None:
        return None
    if merge:
        raise UsageError("--shard makes a part, --merge joins all; give one of them")
    from mova.text_to_video.parts import Part

    return Part.parse(shard)
