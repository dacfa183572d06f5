"""Keep the snapshot and the text tower of an index up to date. The index is sound without them."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from mova.errors import MovaError
from mova.search.cold.snapshot_writer import is_current, write_snapshot
from mova.search.cold.state import read_signed, tower_folder
from mova.search.cold.text_tower import FOLDER, NAME, is_settled, refusal
from mova.utils.file_lock import sole_writer

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.search.storage.store import Store

logger = logging.getLogger(__name__)


def refresh(store: Store, model: DualEncoder | None) -> None:
    """Write the snapshot and the text tower of an index, if they are not those of its present state.

    Those of a remote index are in the user's cache (`mova.search.cold.state`).
    If another process writes to the index, it does this when it has finished. A full disk is only a warning.

    Args:
        store: the index.
        model: the model that it was made with, if it is loaded; without it the text tower stays as it is.
    """
    if not store.exists:
        return
    folder = tower_folder(store.folder, store.meta.fingerprint)
    try:
        if _is_current(store, folder, with_tower=model is not None):
            return
        with ExitStack() as locks:
            if store.folder is not None:
                locks.enter_context(store.lock())
            else:
                for cached in (store.kept, folder):
                    cached.mkdir(mode=0o700, parents=True, exist_ok=True)
                    locks.enter_context(sole_writer(cached))
            write_snapshot(store)
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


def _is_current(store: Store, folder: Path, *, with_tower: bool) -> bool:
    """Return whether nothing has to be written: a search that finds this does not wait for a writer, nor delay one."""
    state = store.state()
    if state is None or not is_current(store.kept, state):
        return False
    if not with_tower:
        return True
    document = read_signed(folder / FOLDER / NAME)
    reason = refusal(folder / FOLDER, document, store.meta)
    return reason is None or is_settled(document, reason)
