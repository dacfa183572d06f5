"""Keep the snapshot and the text tower of an index up to date. The index is sound without them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mova.errors import MovaError
from mova.search.cold.snapshot_writer import write_snapshot

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.search.storage.store import Store

logger = logging.getLogger(__name__)


def refresh(store: Store, model: DualEncoder | None) -> None:
    """Write the snapshot and the text tower of a local index, if they are not those of its present state.

    If another process writes to the index, it does this when it has finished. A full disk is only a warning.

    Args:
        store: the index.
        model: the model that it was made with, if it is loaded; without it the text tower stays as it is.
    """
    folder = store.folder
    if folder is None or not store.exists:
        return
    try:
        with store.lock():
            write_snapshot(store, folder)
            if model is not None:
                from mova.search.cold.tower_writer import write_text_tower

                write_text_tower(model, store.meta, folder)
    except MovaError as error:
        logger.debug("%s: no snapshot was written (%s)", folder, error)
    except OSError as error:
        logger.warning(
            "%s: the files for fast searches cannot be written (%s); searches are correct, but slower",
            folder,
            error.strerror or error,
        )
