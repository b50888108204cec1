"""Find the checkpoint that ``--resume`` continues from."""

import logging
import os
import re
from pathlib import Path

from mmengine.logging import print_log

from abaw_mm.checkpoints.load import load_checkpoint_file
from abaw_mm.errors import InvalidValueError

NUMBERED = re.compile(r'(iter|epoch)_(\d+)\.pth')  # a complete state, as CheckpointHook names it


def find_checkpoint_folder(work_dir: str, out_dir: str | None = None) -> str:
    """Return the folder of a run's checkpoints, as ``CheckpointHook`` joins it.

    Args:
        work_dir (str): Work dir of the run.
        out_dir (str, optional): ``default_hooks.checkpoint.out_dir``.

    >>> find_checkpoint_folder('work_dirs/run'), find_checkpoint_folder('work_dirs/run/', '/large')
    ('work_dirs/run', '/large/run')
    """
    if out_dir is None or out_dir == work_dir:
        return work_dir
    return os.path.join(out_dir, os.path.basename(work_dir.rstrip(os.sep)))


def find_latest(work_dir: str, out_dir: str | None = None) -> str | None:
    """Return the latest complete checkpoint of a run.

    This is the one that ``last_checkpoint`` in the work dir names. If that file or the checkpoint
    is missing or damaged, it is the newest complete one, with a warning that says how many steps
    are lost. A work dir that was copied is resumed from its own checkpoints, not from those that it
    was copied from.

    Args:
        work_dir (str): Work dir of the run.
        out_dir (str, optional): ``default_hooks.checkpoint.out_dir``.

    Returns:
        str: Path of the checkpoint, None if the work dir has no checkpoint.

    Raises:
        InvalidValueError: If no checkpoint is complete.
    """
    last, folder = Path(work_dir, 'last_checkpoint'), find_checkpoint_folder(work_dir, out_dir)
    numbered = _list_numbered(folder)
    if not last.exists() and not numbered:
        return None
    try:
        latest = _read_last(last, folder)
        problem = _find_problem(latest)
        if problem is None:
            return str(latest)
        # Those with higher numbers are of an earlier run.
        step = _get_step(latest)
        numbered = [path for path in numbered if step < 0 or _get_step(path) < step]
    except (OSError, ValueError) as error:
        problem = f'{last}: {error}'
        step = max(map(_get_step, numbered), default=-1)
    intact = next((path for path in numbered if _find_problem(path) is None), None)
    if intact is None:
        raise InvalidValueError(
            f'--resume: cannot resume the latest checkpoint: {problem}; there is no other complete '
            f'checkpoint in {folder}: start again without --resume'
        )
    print_log(
        f'--resume: cannot resume the latest checkpoint: {problem}. Resuming from {intact}, the '
        f'newest complete one: {_describe_loss(intact, step)}',
        logger='current',
        level=logging.WARNING,
    )
    return str(intact)


def _read_last(last: Path, folder: str) -> Path:
    """Return the checkpoint in a folder that ``last_checkpoint`` names.

    Raises:
        OSError, ValueError: If the file cannot be read or names no checkpoint.
    """
    name = last.read_text(encoding='utf-8').strip()
    if not name or not name.isprintable():
        raise ValueError(f'got {name[:20]!r}, expected the path of a checkpoint')
    return Path(folder, Path(name).name)  # the work dir may have been moved or copied


def _list_numbered(folder: str) -> list[Path]:
    """List the checkpoints of complete states, the newest first."""
    found = [path for path in Path(folder).glob('*.pth') if NUMBERED.fullmatch(path.name)]
    return sorted(found, key=_get_step, reverse=True)


def _get_step(checkpoint: Path) -> int:
    """Return the step or epoch in a checkpoint's name, -1 if there is none."""
    match = NUMBERED.fullmatch(checkpoint.name)
    return int(match[2]) if match else -1


def _describe_loss(checkpoint: Path, step: int) -> str:
    unit = 'epochs' if checkpoint.name.startswith('epoch') else 'steps'
    if step < 0:
        return f'the {unit} after it are lost'
    return f'{unit} lost: {step - _get_step(checkpoint)}'


def _find_problem(checkpoint: Path) -> str | None:
    """Return why a checkpoint cannot be resumed, None if it can."""
    try:
        loaded = load_checkpoint_file(checkpoint)
    except (OSError, ValueError) as error:
        return str(error)
    lacks = [key for key in ('meta', 'state_dict') if key not in loaded]
    return f'{checkpoint}: got a checkpoint without {", ".join(lacks)}' if lacks else None
