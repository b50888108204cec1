"""Compare what must be the same in all processes of a run."""

import socket
from collections.abc import Callable, Mapping

from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, is_distributed

from abaw_mm.errors import InvalidValueError, join_first, shorten_text

MAX_VALUE = 60  # characters of a value in the message
ABSENT = 'nothing'


def compare_processes(describe: Callable[[], Mapping[str, str]], fix: str) -> None:
    """Compare facts with those of the first process. Call this on all processes.

    Args:
        describe (Callable): Returns the name and value of each fact. It is not called in a run of
            a single process.
        fix (str): What to do about a difference, for the message.

    Raises:
        InvalidValueError: On all processes, if the facts of one differ from those of the first.
    """
    if not is_distributed():
        return
    facts = dict(describe())
    first: list = [facts if get_rank() == 0 else None]
    broadcast_object_list(first)
    answers = all_gather_object((socket.gethostname(), find_differences(first[0], facts)))
    line = explain_differences(answers)
    if line:
        raise InvalidValueError(f'{line}; {fix}')


def find_differences(first: Mapping[str, str], own: Mapping[str, str]) -> dict:
    """Return the values of the facts that differ, that of the first process first.

    >>> find_differences({'a': '1', 'b': '2'}, {'a': '1', 'b': '3', 'c': '4'})
    {'b': ('2', '3'), 'c': ('nothing', '4')}
    """
    return {
        name: (first.get(name, ABSENT), own.get(name, ABSENT))
        for name in {**first, **own}
        if first.get(name) != own.get(name)
    }


def explain_differences(answers: list[tuple[str, dict]]) -> str:
    """Describe the differences of the first process that has some, ``''`` if none has.

    Args:
        answers (list): Name of the machine and differences of each rank.

    >>> explain_differences([('a', {}), ('b', {'lr': ('0.1', '0.2')}), ('b', {'lr': ('1', '2')})])
    'lr: got 0.2 on rank 1 (b) and 0.1 on rank 0 (a), expected the same (1 other process differs)'
    """
    differing = [rank for rank, (_, differences) in enumerate(answers) if differences]
    if not differing:
        return ''
    rank, number = differing[0], len(differing) - 1
    host, differences = answers[rank]
    texts = [
        f'{name}: got {_quote(own)} on rank {rank} ({host}) and {_quote(first)} on rank 0 '
        f'({answers[0][0]}), expected the same'
        for name, (first, own) in sorted(differences.items())
    ]
    others = f'{number} other process{"" if number == 1 else "es"} differ{"s" * (number == 1)}'
    return join_first(texts) + f' ({others})' * (number > 0)


def _quote(value: str) -> str:
    return shorten_text(value, MAX_VALUE) if len(value) > MAX_VALUE else value
