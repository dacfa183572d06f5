"""Everything that answers requests, made once per service."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from mova.serve.aligner import Aligner
from mova.serve.copies import Copier
from mova.serve.engine import Engine
from mova.serve.files.cache import DiskCache
from mova.serve.files.children import Children
from mova.serve.files.pictures import Pictures
from mova.serve.files.transcode import Transcoder
from mova.serve.finder import Finder
from mova.serve.library.catalog import Catalog
from mova.serve.library.folders import Folders
from mova.serve.library.jobs import Jobs
from mova.serve.library.uploads import Uploads
from mova.serve.settings import Settings
from mova.serve.states import States

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder


class Services:
    """The parts of a running service."""

    def __init__(self, settings: Settings, encoder: DualEncoder | None = None) -> None:
        self.settings = settings
        self.catalog = Catalog(settings.index)
        self.engine = Engine(settings.index, encoder or settings.model, self.catalog.held)
        self.finder = Finder(self.catalog)
        self.states = States()
        self.copier = Copier(settings.index)
        self.cache = DiskCache(settings.state / "cache", settings.cache_bytes)
        self.children = Children()
        self.pictures = Pictures(self.catalog, self.cache)
        self.jobs = Jobs(settings.state / "jobs.json", settings.index, settings.model)
        self.folders = Folders(self._roots)
        self.stopping = threading.Event()
        self.transcoder = Transcoder(self.catalog, self.cache, self.children)
        self.uploads = Uploads(settings.uploads, settings.upload_bytes, self.children)
        self.aligner = Aligner(self.catalog, self.children, settings.state / "corrections.jsonl")

    def _roots(self) -> list[str | Path]:
        if self.settings.folders:
            return list(self.settings.folders)
        return [Path.cwd(), *self.catalog.sources()]

    def start(self) -> None:
        """Load the model, and continue jobs."""
        self.uploads.start()
        self.engine.warm_up()
        self.copier.start()
        self.jobs.start()

    def close(self) -> None:
        """End threads and processes."""
        self.stopping.set()
        self.copier.close()
        self.engine.close()
        self.jobs.close()
        self.children.close()
        self.pictures.close()


def services(request: Request) -> Services:
    """Return the parts of the service that a request came to."""
    parts: Services = request.app.state.services
    return parts


Parts = Annotated[Services, Depends(services)]
