"""Keep what a resumed run may delete to its own work dir."""

import numbers
import os
from collections.abc import Iterable
from typing import Any


def keep_own_best(info: dict[str, Any], folder: str, metrics: Iterable[str] = ()) -> list[str]:
    """Drop the best checkpoints of other folders and metrics from the state of a resumed run.

    At the next best score, mmengine's ``CheckpointHook`` deletes the file or folder that the state
    names as ``best_ckpt``, wherever it is. It may be of the run that the work dir was copied from,
    or any path in a stranger's file. The hook also compares with ``best_score`` whatever the metric
    was.

    Args:
        info (dict): ``runtime_info`` of the message hub. Each path is replaced by that of the file
            of this name in ``folder``, or dropped with its score, in place.
        folder (str): Folder of the run's checkpoints.
        metrics (Iterable[str]): Metrics of ``save_best``, which the names of the files begin with.
            Defaults to any.

    Returns:
        list[str]: Keys of the dropped checkpoints.
    """
    dropped = []
    prefixes = tuple(f'best_{metric}_'.replace('/', '_') for metric in metrics) or ('best_',)
    for key in [key for key in info if isinstance(key, str) and key.startswith('best_')]:
        kind, metric = key[:10], key[10:]  # best_score and best_score_<metric>, best_ckpt likewise
        if key.startswith('best_ckpt'):
            kind, metric = key[:9], key[9:]
        if kind not in ('best_ckpt', 'best_score') or key not in info:
            continue
        path, score = info.get(f'best_ckpt{metric}'), info.get(f'best_score{metric}')
        name = os.path.basename(path) if isinstance(path, str) else ''
        own = os.path.join(folder, name)
        if name.startswith(prefixes) and os.path.isfile(own) and isinstance(score, numbers.Real):
            info[f'best_ckpt{metric}'] = own
            continue
        for name in (f'best_ckpt{metric}', f'best_score{metric}'):
            if name in info:
                del info[name]
                dropped.append(name)
    ids = info.get('keep_ckpt_ids')
    if ids is not None and not (isinstance(ids, list) and all(type(x) is int for x in ids)):
        del info['keep_ckpt_ids']
        dropped.append('keep_ckpt_ids')
    return dropped
