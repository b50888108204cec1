"""Compare the classes of a checkpoint's head with those of the config."""

from collections.abc import Sequence

import torch

from abaw_mm.errors import InvalidValueError

OPTION = 'default_hooks.strict_checkpoint.reorder_classes=True'


def get_classes(checkpoint: dict) -> tuple[str, ...] | None:
    """Return the names of the classes that a checkpoint was trained on, None if it has none."""
    meta = checkpoint.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    dataset = meta.get('dataset_meta')
    classes = dataset.get('classes') if isinstance(dataset, dict) else None
    classes = classes or meta.get('CLASSES')  # of OpenMMLab 1.x
    is_list = isinstance(classes, (list, tuple)) and all(isinstance(name, str) for name in classes)
    return tuple(classes) if is_list and classes else None


def match_classes(
    checkpoint: dict,
    expected: Sequence[str] | None,
    name: str,
    reorder: bool = False,
    finetuning: bool = False,
    resuming: bool = False,
) -> str | None:
    """Compare the classes of a checkpoint with those of the data, and reorder the head if asked.

    Names are compared without case. Nothing is compared if one side has no names.

    Args:
        checkpoint (dict): The loaded checkpoint. The head's rows are put into the order of
            ``expected`` in place, or removed if a fine-tuning starts from other classes.
        expected (Sequence[str], optional): Classes of the data.
        name (str): Path of the checkpoint, for messages.
        reorder (bool): Whether the rows may be reordered. Defaults to False.
        finetuning (bool): Whether the checkpoint is the start of a training. Defaults to False.
        resuming (bool): Whether the checkpoint is a resumed run. Defaults to False.

    Returns:
        str: A warning for the log if the head was changed.

    Raises:
        InvalidValueError: If the classes differ, unless the head could be changed.
    """
    found = get_classes(checkpoint)
    if found is None or not expected or _fold(found) == _fold(expected):
        return None
    what = f'{name}: got a head for the classes {", ".join(found)}'
    if sorted(_fold(found)) != sorted(_fold(expected)):
        if finetuning:
            removed = ', '.join(_take_head(checkpoint, len(found)))
            return f'{what}, other than those of the data: {removed} keep their initial values'
        raise InvalidValueError(
            f'{what}, expected {", ".join(expected)}; use a checkpoint of these classes, or start '
            'a training from this one with load_from. If only the names differ, set metainfo='
            'dict(classes=[...]) of the dataset'
        )
    if resuming or not reorder:
        advice = f'set {OPTION} (also with --cfg-options) to reorder the rows of the head'
        if resuming:
            advice = f'start a new training from it with load_from, and {advice}'
        raise InvalidValueError(
            f'{what}, expected the same classes in another order: {", ".join(expected)}; {advice}'
        )
    order = [_fold(found).index(name) for name in _fold(expected)]
    head = _take_head(checkpoint, len(found))
    _get_tensors(checkpoint).update({key: value[order] for key, value in head.items()})
    return f'{what}: the rows of {", ".join(head)} are put into the order {", ".join(expected)}'


def _fold(names: Sequence[str]) -> list[str]:
    return [name.strip().casefold() for name in names]


def _get_tensors(checkpoint: dict) -> dict:
    return checkpoint.get('state_dict', checkpoint)


def _take_head(checkpoint: dict, num_classes: int) -> dict[str, torch.Tensor]:
    """Remove the tensors of the last layer from a checkpoint and return them."""
    tensors = _get_tensors(checkpoint)
    head = [
        key
        for key, value in tensors.items()
        if key.removeprefix('module.').startswith('head.')
        and isinstance(value, torch.Tensor)
        and value.shape[:1] == (num_classes,)
    ]
    if len({key.rpartition('.')[0] for key in head}) != 1:
        raise InvalidValueError(
            f'got the tensors {", ".join(head) or "of no head"} with {num_classes} rows, expected '
            'those of one layer, whose rows are the classes; use a checkpoint with the classes of '
            'the data'
        )
    return {key: tensors.pop(key) for key in head}
