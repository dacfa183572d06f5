"""The files that a reproduction of SynViTA needs, and which are missing, before anything heavy is imported.

DIR/annotations          the publishers' files, see `FILES`
DIR/videos               all videos under the publishers' names, in any subfolders
DIR/synthetic            the weighted synthetic videos of the training split, from `mova data weights`
"""

from __future__ import annotations

from pathlib import Path

from mova.errors import DataError

FILES = {
    "videocon-llm": "videocon_llm_entailment.csv",
    "videocon-human": "videocon_human.csv",
    "videocon-human-hard": "videocon_human.csv",
    "ssv2-temporal": "eval_ssv2_temporal.csv",
    "ssv2-events": "eval_ssv2_events.csv",
    "atp-hard-statements": "nextqa-atphard-statements.csv",
}
"""Set of `mova data convert` -> its file; `videocon-llm` is trained on, too."""
SYNTHETIC = Path("synthetic", "manifest.jsonl")


def require_suite_files(
    recipe: str, data: str | Path | None, *, trained: bool = True, synthetic: bool = True
) -> dict[str, Path]:
    """Return the sets whose files are there.

    Args:
        recipe: for messages.
        data: the folder; None if the user named none.
        trained: whether a model is trained, which needs VideoCon's training split.
        synthetic: whether it is trained on synthetic videos.

    Raises:
        DataError: there is no file of any test, or one that training needs is missing; the message lists all.
    """
    base = Path("DIR" if data is None else data)
    annotations = base / "annotations"
    found = {name: paths[0] for name, file in FILES.items() if data and (paths := sorted(annotations.rglob(file)))}
    missing = [str(path) for path in (annotations, base / "videos") if data is None or not path.is_dir()]
    if not found:
        missing += [str(annotations / file) for file in dict.fromkeys(FILES.values())]
    elif trained and "videocon-llm" not in found:
        missing.append(str(annotations / FILES["videocon-llm"]))
    if trained and synthetic and not (base / SYNTHETIC).is_file():
        missing.append(str(base / SYNTHETIC))
    if not missing:
        return found
    raise DataError(
        f"{recipe} needs data that mova does not ship. Missing: {', '.join(missing)}.\n"
        f"{annotations} holds the publishers' files: VideoCon's tables (videocon/videocon on the Hub), and those of "
        f"its repository for SSv2 and ATP-Hard. A test whose file is not there is left out.\n{base / 'videos'} holds "
        "the videos of MSR-VTT, VATEX, TEMPO, ActivityNet, SSv2 and NExT-QA under the publishers' names.\n"
        f"{base / SYNTHETIC} holds the synthetic videos of the false captions, with their scores:\n"
        f"  mova data convert videocon-llm {annotations} train.jsonl --videos {base / 'videos'} --split train\n"
        "  mova data synthesize train.jsonl rendered --model NAME, or --join FOLDER for the authors' own\n"
        f"  mova data weights rendered/manifest.jsonl {base / SYNTHETIC.parent} --vqa MODEL\n"
        "`--figure none` needs no synthetic videos, and `--zero-shot` no training data"
    )
