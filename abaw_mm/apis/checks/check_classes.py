"""Check that model, datasets and evaluators have the same number of classes."""

from typing import Any

from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from abaw_mm.engine import unwrap_model
from abaw_mm.errors import InvalidValueError


def check_classes(runner: Runner) -> None:
    """Compare the tracks and the numbers of classes of head, datasets and evaluators.

    Otherwise a smaller head fails at the first frame of a class beyond it, and a larger one after a
    whole validation interval. Parts without a number of classes, such as those of pre-training,
    are not compared.

    Args:
        runner (Runner): Runner with the loops that it will run.

    Raises:
        InvalidValueError: If the tracks or the numbers differ, or the loss has another number of
            class weights.
    """
    head: Any = getattr(unwrap_model(runner.model), 'head', None)
    _check_tasks(runner, head)
    number = getattr(head, 'num_classes', None)
    if number is None:
        return
    found = {'model.head.num_classes': number}
    loss: Any = getattr(head, 'loss_module', None)
    weights = getattr(loss, 'class_weight', None)
    if isinstance(weights, (list, tuple)):
        found['len(model.head.loss.class_weight)'] = len(weights)
    if getattr(loss, 'num_classes', None) is not None:
        found['model.head.loss.num_classes'] = loss.num_classes
    for name in ('train', 'val', 'test'):
        found.update(_count_classes(name, getattr(runner, f'_{name}_loop')))
    if len(set(found.values())) > 1:
        values = ', '.join(f'{key}={value}' for key, value in found.items())
        raise InvalidValueError(
            f'number of classes: got {values}, expected the same number everywhere; set the one '
            'that is wrong (classes are those of the annotations)'
        )


def _check_tasks(runner: Runner, head: Any) -> None:
    """Raise if a dataset annotates another track than the head predicts."""
    task = getattr(head, 'task', None if head is None else 'expr')
    for name in ('train', 'val', 'test'):
        loop: Any = getattr(runner, f'_{name}_loop')
        if not isinstance(loop, BaseLoop):
            continue
        meta = getattr(loop.dataloader.dataset, 'metainfo', None) or {}
        found = meta.get('task', 'expr' if meta.get('classes') else task)
        if found != task:
            raise InvalidValueError(
                f'{name}_dataloader.dataset: got the task {found!r} with a '
                f'{type(head).__name__}, which predicts {task!r}; set '
                f'{name}_dataloader.dataset.task and ann_file, or model.head'
            )


def _count_classes(name: str, loop: Any) -> dict[str, int]:
    """Return the numbers of classes of a loop's dataset and metrics, by their config keys."""
    if not isinstance(loop, BaseLoop):  # none, or a test after a training, which is not built
        return {}
    found = {}
    classes = (getattr(loop.dataloader.dataset, 'metainfo', None) or {}).get('classes')
    if classes is not None:
        found[f'len({name}_dataloader.dataset.classes)'] = len(classes)
    for metric in getattr(getattr(loop, 'evaluator', None), 'metrics', ()):
        if getattr(metric, 'num_classes', None) is not None:
            found[f'{name}_evaluator.num_classes'] = metric.num_classes
    return found
