"""Export a folder of features to one file for other programs."""

import json
import os
import pickle
from collections.abc import Sequence

import numpy as np

from abaw_mm.apis.features.feature_file import META, get_kind, import_h5py
from abaw_mm.datasets import FeatureFolder
from abaw_mm.errors import InvalidValueError
from abaw_mm.files import atomic_write

FRAME_NAME = '{clip}/{number:05d}.jpg'


def export_features(
    folder: str | os.PathLike, out: str | os.PathLike, clips: Sequence[str] | None = None
) -> tuple[int, int]:
    """Write a folder of features to one .npz, .h5 or pickle.

    - ``.npz`` and ``.h5``: ``<clip>/features`` (F, D) float16 and ``<clip>/frame_no`` (F, ) int32
      for each clip, and the folder's record as JSON, ``meta``.
    - ``.pkl``, ``.pickle``: a dict from ``'<clip>/00001.jpg'`` to (D, ) float16. It has no record,
      and no clips without frames.

    :func:`import_features` reads both.

    Args:
        folder: The folder.
        out: The file; its suffix gives the format.
        clips (Sequence[str], optional): Clips to export. Defaults to all.

    Returns:
        tuple[int, int]: Numbers of clips and frames.

    Raises:
        ImportError: If h5py is needed and not installed.
        FileNotFoundError: If the folder or features of a clip do not exist.
        ValueError: If a file is damaged, the folder does not have a clip, or the suffix is another.
        OSError: If the file cannot be written.
    """
    kind = get_kind(out)
    source = FeatureFolder.open(folder)
    clips = list(source.index.clips if clips is None else clips)
    if not clips:
        raise InvalidValueError(f'{folder}: got no clips, expected at least one to export')
    source.check(clips)
    with atomic_write(out) as draft:
        if kind == 'npz':
            arrays = {f'{clip}/features': source.read(clip) for clip in clips}
            arrays.update({f'{clip}/frame_no': source.frame_numbers(clip) for clip in clips})
            arrays[META] = np.array(json.dumps(source.meta))
            with open(draft, 'wb') as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
        elif kind == 'h5':
            with import_h5py().File(draft, 'w') as file:
                for clip in clips:
                    file[f'{clip}/features'] = source.read(clip)
                    file[f'{clip}/frame_no'] = source.frame_numbers(clip)
                file[META] = json.dumps(source.meta)
        else:
            rows = {
                FRAME_NAME.format(clip=clip, number=number): np.array(row)
                for clip in clips
                for number, row in zip(
                    source.frame_numbers(clip).tolist(), source.read(clip), strict=True
                )
            }
            with open(draft, 'wb') as file:
                pickle.dump(rows, file, protocol=4)
    return len(clips), sum(len(source.frame_numbers(clip)) for clip in clips)
