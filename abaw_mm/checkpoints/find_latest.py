"""Which checkpoint ``--resume`` goes on from."""

import re
from pathlib import Path

from abaw_mm.checkpoints.load import find_checkpoint_file

NUMBERED = re.compile(r'(iter|epoch)_(\d+)\.pth')  # a whole state, as CheckpointHook names it


def find_latest(work_dir: str) -> str | None:
    """The checkpoint that ``last_checkpoint`` in a work dir names; None where there is none at all.

    Raises:
        ValueError: If that checkpoint is not there or damaged, with the newest that is whole.
    """
    note = Path(work_dir, 'last_checkpoint')
    found = [(NUMBERED.fullmatch(path.name), path) for path in Path(work_dir).glob('*.pth')]
    numbered = sorted(((int(match[2]), path) for match, path in found if match), reverse=True)
    if note.is_file():
        latest = note.read_text().strip()
        problem = _problem_of(latest)
        if problem is None:
            return latest
    elif numbered:
        problem = f'got no {note}, which names it'
    else:
        return None
    older = next((path for _, path in numbered if _problem_of(path) is None), None)
    raise ValueError(
        f'--resume: cannot go on from the latest checkpoint: {problem}. '
        + (
            f'The newest that is whole is {older}: go on from it by `--resume {older}`'
            if older
            else f'There is no other in {work_dir}: start anew without --resume'
        )
    )


def _problem_of(checkpoint: str | Path) -> str | None:
    """Why a checkpoint cannot be read, as far as a look shows; None if it can."""
    try:
        find_checkpoint_file(checkpoint)
    except (OSError, ValueError) as error:
        return str(error)
    return None
