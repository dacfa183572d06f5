"""Everything that answers requests, made once per service."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from mova.models.encoder import DualEncoder
from mova.serve.aligner import Aligner
from mova.serve.cache import DiskCache
from mova.serve.catalog import Catalog
from mova.serve.children import Children
from mova.serve.engine import Engine
from mova.serve.finder import Finder
from mova.serve.pictures import Pictures
from mova.serve.settings import Settings
from mova.serve.transcode import Transcoder


class Services:
    """The parts of a running service."""

    def __init__(self, settings: Settings, encoder: DualEncoder | None = None) -> None:
        self.settings = settings
        self.catalog = Catalog(settings.index)
        self.engine = Engine(settings.index, encoder or settings.model)
        self.finder = Finder(self.catalog)
        self.cache = DiskCache(settings.state / "cache", settings.cache_bytes)
        self.children = Children()
        self.pictures = Pictures(self.catalog, self.cache)
        self.transcoder = Transcoder(self.catalog, self.cache, self.children)
        self.aligner = Aligner(self.catalog, self.children, settings.state / "corrections.jsonl")

    def start(self) -> None:
        """Load the model."""
        self.engine.warm_up()

    def close(self) -> None:
        """End threads and processes."""
        self.engine.close()
        self.children.close()
        self.pictures.close()


def services(request: Request) -> Services:
    """Return the parts of the service that a request came to."""
    parts: Services = request.app.state.services
    return parts


Parts = Annotated[Services, Depends(services)]
