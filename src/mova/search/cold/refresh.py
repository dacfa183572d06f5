"""Keep the snapshot and the text tower of an index up to date. The index is sound without them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from mova.errors import MovaError
from mova.search.cold.snapshot_writer import is_current, write_snapshot
from mova.search.cold.state import read_signed, tables_state
from mova.search.cold.text_tower import FOLDER, NAME, is_settled, refusal

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.search.storage.records import Meta
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
        if _is_current(folder, store.meta, with_tower=model is not None):
            return
        with store.lock():
            write_snapshot(store, folder)
            if model is not None:
                from mova.search.cold.tower_writer import write_text_tower

                write_text_tower(model, store.meta, folder)
    except (MemoryError, ImportError) as error:
        logger.warning(
            "%s: the files for fast searches cannot be made now (%s); searches are correct, but slower",
            folder,
            error or type(error).__name__,
        )
    except MovaError as error:
        logger.debug("%s: no snapshot was written (%s)", folder, error)
    except OSError as error:
        logger.warning(
            "%s: the files for fast searches cannot be written (%s); searches are correct, but slower",
            folder,
            error.strerror or error,
        )


def _is_current(folder: Path, meta: Meta, *, with_tower: bool) -> bool:
    """Return whether nothing has to be written: a search that finds this does not wait for a writer, nor delay one."""
    state = tables_state(folder)
    if state is None or not is_current(folder, state):
        return False
    if not with_tower:
        return True
    document = read_signed(folder / FOLDER / NAME)
    reason = refusal(folder / FOLDER, document, meta)
    return reason is None or is_settled(document, reason)
