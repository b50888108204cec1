"""Find the checkpoint that ``--resume`` continues from."""

import re
from pathlib import Path

from abaw_mm.checkpoints.load import find_checkpoint_file
from abaw_mm.errors import InvalidValueError

NUMBERED = re.compile(r'(iter|epoch)_(\d+)\.pth')  # a complete state, as CheckpointHook names it


def find_latest(work_dir: str) -> str | None:
    """Return the checkpoint that ``last_checkpoint`` in a work dir names.

    Returns:
        str: Path of the checkpoint, None if the work dir has no checkpoint.

    Raises:
        InvalidValueError: If that checkpoint is missing or damaged. The message names the newest
            intact one.
    """
    last = Path(work_dir, 'last_checkpoint')
    numbered = _list_numbered(work_dir)
    if last.is_file():
        latest = last.read_text().strip()
        problem = _find_problem(latest)
        if problem is None:
            return latest
    elif numbered:
        problem = f'got no {last}, which names it'
    else:
        return None
    intact = next((path for path in numbered if _find_problem(path) is None), None)
    advice = (
        f'use the newest intact checkpoint with `--resume {intact}`'
        if intact
        else f'there is no other checkpoint in {work_dir}: start again without --resume'
    )
    raise InvalidValueError(f'--resume: cannot resume the latest checkpoint: {problem}; {advice}')


def _list_numbered(work_dir: str) -> list[Path]:
    """List the checkpoints of complete states, the newest first."""
    found = [(NUMBERED.fullmatch(path.name), path) for path in Path(work_dir).glob('*.pth')]
    numbered = sorted(((int(match[2]), path) for match, path in found if match), reverse=True)
    return [path for _, path in numbered]


def _find_problem(checkpoint: str | Path) -> str | None:
    """Return why a checkpoint cannot be read, as far as its start shows; None if it can."""
    try:
        find_checkpoint_file(checkpoint)
    except (OSError, ValueError) as error:
        return str(error)
    return None
