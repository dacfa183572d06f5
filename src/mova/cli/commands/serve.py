"""`mova serve`: a web page and an HTTP API over an index."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mova.cli.answer_output import printed_answer
from mova.cli.console import note
from mova.cli.options import DEFAULT_INDEX, IndexFolder, Model, model_of_index
from mova.cli.output_files import output_folder
from mova.cli.search_options import RerankOptions
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.search.second_stage.reranker import Reranker
    from mova.serve.settings import Settings


Rate = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Requests per second of each client; pictures count a tenth, 0 is no limit (default: 10; no limit if only "
        "this machine can connect).",
    ),
]
Offered = Annotated[
    list[Path] | None,
    typer.Option(
        "--folder",
        help="Folder from which videos may be added in the browser; may be repeated (default: the current one, and "
        "those of the index).",
    ),
]
UploadFolder = Annotated[
    Path | None,
    output_folder(
        "Let clients send videos, which are checked, kept in this folder and indexed (default: no).", "--uploads"
    ),
]
Shared = Annotated[
    bool,
    typer.Option(
        "--shard",
        help="Let clients search this index as one of several (`mova search --index http://...`): they read its "
        "vectors and the full paths of its videos.",
    ),
]
UploadSize = Annotated[float, typer.Option(min=0.001, help="Largest video that may be sent, in GB.")]


def serve(
    context: typer.Context,
    folder: IndexFolder = DEFAULT_INDEX,
    model: Model = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any address other than loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.")] = 8765,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token that clients must send (or set MOVA_TOKEN)."),
    ] = None,
    public_url: Annotated[
        list[str] | None,
        typer.Option(
            help="Address by which clients name the service: of a reverse proxy in front of it, or of this machine by "
            "its host name. Needs a token; may be repeated."
        ),
    ] = None,
    offer: Offered = None,
    state: Annotated[
        Path | None,
        output_folder("Folder for thumbnails, previews, jobs and corrections (default: beside the index)."),
    ] = None,
    rate: Rate = None,
    uploads: UploadFolder = None,
    upload_size: UploadSize = 4.0,
    shard: Shared = False,
    cache_size: Annotated[float, typer.Option(min=0.01, help="Largest size of thumbnails and previews, in GB.")] = 2.0,
    rerank: RerankOptions = RerankOptions(),  # noqa: B008 - immutable
) -> None:
    """Search, play and align in a browser.

    Only this machine can connect, unless --host or --public-url says otherwise. Then every client needs a token; if
    none is set, one is made and printed. Ctrl-C stops the service.
    """
    _require_service()
    from mova.serve import server
    from mova.serve.settings import Settings, needs_token, new_token, state_folder

    token = _token(token_file)
    made = token is None and needs_token(host, public_url or ())
    settings = Settings(
        index=folder,
        model=model_of_index(context, model, folder),
        host=host,
        port=port,
        token=new_token() if made else token,
        public_urls=tuple(public_url or ()),
        folders=tuple(offer or ()),
        state=state or state_folder(folder),
        cache_bytes=round(cache_size * 2**30),
        rate=rate,
        uploads=uploads and uploads.expanduser().absolute(),
        upload_bytes=round(upload_size * 2**30),
        second=_second(rerank),
        shard=shard,
    )
    server.run(settings, partial(_announce, settings, made), printed_answer)


def _require_service() -> None:
    """Raise if the service cannot run here.

    Raises:
        UsageError: on Windows, or without the extra `serve`.
    """
    if sys.platform == "win32":
        raise UsageError("mova serve needs Linux or macOS; on Windows, run it in WSL, or in the Dockerfile's container")
    try:
        from mova.serve import server  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed; install mova[serve]") from error


def _second(options: RerankOptions) -> Reranker | None:
    """Return the second stage with its model loaded, so that one that is not there is reported at once.

    Raises:
        ModelError, UsageError: see `mova.search.second_stage.reranker.Reranker`; or it would be asked for longer than a
            request waits.
    """
    from mova.serve.settings import ANSWER_SECONDS, SECOND_SECONDS

    second = options.reranker()
    if second is None:
        return None
    if second.seconds is not None and second.seconds >= ANSWER_SECONDS:
        raise UsageError(
            f"--rerank-seconds: a request of a service waits for {ANSWER_SECONDS:g} s; choose fewer seconds than that"
        )
    if second.seconds is None:
        second = replace(second, seconds=SECOND_SECONDS)
    if second.weight != 0:
        second.second  # noqa: B018 - loads it
    return second


def _announce(settings: Settings, made: bool, port: int) -> None:
    """Say where the service is, and who may use it.

    Args:
        settings: of the service.
        made: whether its token was made now.
        port: on which it listens.
    """
    note(f"mova is at {settings.url.replace(f':{settings.port}/', f':{port}/')}")
    if made:
        note(f"other machines can connect. The token, new at every start: {settings.token}")
    elif settings.token is not None:
        note("clients need the token")
    note("Ctrl-C stops it")


def _token(file: Path | None) -> str | None:
    """Return the token of a file or of the environment, if any."""
    from mova.client import TOKEN_VARIABLE

    if file is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip() or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {file}: cannot be read ({error})") from error
