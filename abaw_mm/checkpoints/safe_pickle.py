"""Read pickles as data: nothing in a file is run, whoever wrote it."""

import pickle
import pickletools
import re
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

from abaw_mm.checkpoints.checks.plain_arrays import ARRAY_GLOBALS
from abaw_mm.compat.versions import parse_release
from abaw_mm.errors import UserError
from abaw_mm.files import check_zip


class UnsafeCheckpointError(UserError, pickle.UnpicklingError):
    """A checkpoint contains more than data."""


class _OneCycleMethods:
    """The methods that a OneCycle scheduler's state refers to, without the class itself."""

    _annealing_cos = staticmethod(OneCycleParamScheduler._annealing_cos)
    _annealing_linear = staticmethod(OneCycleParamScheduler._annealing_linear)


# An instance, since a pickle can neither call it nor instantiate it nor set its state.
_ONE_CYCLE = _OneCycleMethods()
_ALLOWED_METHODS = {
    HistoryBuffer: ('current', 'max', 'mean', 'min'),
    _ONE_CYCLE: ('_annealing_cos', '_annealing_linear'),
}


def _get_allowed_method(owner: Any, name: str) -> Callable:
    """``getattr`` restricted to the methods that mmengine's own checkpoints refer to."""
    for known, names in _ALLOWED_METHODS.items():
        if owner is known and name in names:
            return getattr(owner, name)
    raise UnsafeCheckpointError(f'GLOBAL builtins.getattr of {name!r} of {owner!r}')


# What a checkpoint may refer to besides tensors, as pairs of an object and its name in the file:
# the state of mmengine's Runner, and replacements of NumPy's constructors.
SAFE_GLOBALS: list[Any] = [
    (HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_ONE_CYCLE, 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'),
    (_get_allowed_method, 'builtins.getattr'),
    *ARRAY_GLOBALS,
]

ZIP = b'PK'
PICKLE = b'\x80'  # the first byte of a file from before torch 1.6; later files are zip archives

MAX_NAME = 120  # characters of a name in a file that a message shows
# What pickles of tensors and plain values refer to.
PLAIN_DATA = re.compile(r'collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.\w+Storage')


def load_data(file: Any, map_location: Any = None, pickle_module: Any = None, **kwargs: Any) -> Any:
    """``torch.load`` that always reads with ``weights_only=True``, whatever the caller passes.

    Raises:
        UnsafeCheckpointError: If the file refers to a type that is not in :data:`SAFE_GLOBALS`.
        zipfile.BadZipFile: If the content of a zip archive does not match its checksums.
        Exception: Whatever torch.load raises for a damaged file.
    """
    kwargs['weights_only'] = True
    _check_container(file)
    try:
        with _allow_safe_globals():
            return torch.load(file, map_location=map_location, **kwargs)
    except pickle.UnpicklingError as error:
        found = ascii(_parse_refusal(str(error), file))[1:-1][:MAX_NAME]
    raise UnsafeCheckpointError(
        f'{getattr(file, "name", file)}: got a checkpoint that asks for {found}, expected only '
        'tensors, plain values and the state of mmengine; nothing was run. Reading such a file can '
        'run any program. If you trust its author, write a clean file of the backbone with '
        'tools/model_converters/ssl_to_mmpretrain.py IN OUT --trust-pickle, or of other tensors '
        "with torch.save(dict(state_dict=...), 'new.pth'), on a machine without valuable data"
        + (
            ''
            if _takes_safe_globals()
            else '; a run of mmengine resumes from torch 2.6 on (`pip install -U torch`)'
        )
    )


def _takes_safe_globals() -> bool:
    """Return whether torch accepts objects with names; before 2.6 only plain tensors load."""
    return parse_release(torch.__version__) >= (2, 6)


@contextmanager
def _allow_safe_globals() -> Iterator[None]:
    """Allow :data:`SAFE_GLOBALS` and nothing else that anyone has added to torch's list."""
    if not _takes_safe_globals():
        yield
        return
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        torch.serialization.add_safe_globals(SAFE_GLOBALS)
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


def _check_container(file: Any) -> None:
    """Check the checksums of a zip archive, and refuse what is neither one nor a pickle.

    torch.load would read a tar archive, the format before torch 0.1.10, as several pickles.
    """
    with nullcontext(file) if hasattr(file, 'seek') else open(file, 'rb') as stream:
        position = stream.tell()
        start = stream.read(2)
        stream.seek(position)
        if start == ZIP:
            check_zip(stream)
            stream.seek(position)
        elif not start.startswith(PICKLE):
            raise ValueError(f'the file begins with {start!r}')


def _parse_refusal(message: str, file: Any) -> str:
    """Return the type that torch refused, or the reason if its message names no type."""
    refused = re.search(r'(?:GLOBAL|Unsupported class) ([\w.]+)(.*)', message)
    if refused is not None:  # torch omits the module if it is builtins
        name = refused[1] if '.' in refused[1] else f'builtins.{refused[1]}'
        return name + (refused[2] if refused[2].startswith(' of ') else '')
    reason = re.search(r'WeightsUnpickler error:\s*(.+)', message)
    return find_unsafe_type(file) or (reason[1] if reason else message)


def find_unsafe_type(file: Any) -> str | None:
    """Find the first type in a pickle that is not plain data, without running the pickle.

    torch's reader knows pickle protocol 2 and names no type in pickles of later protocols.

    Returns:
        str: The type; if there is none, the protocol if it is later than 2, else None.
    """
    safe = {name for _, name in SAFE_GLOBALS} - {'builtins.getattr'}
    safe |= {f'numpy.{core}.numeric._frombuffer' for core in ('core', '_core')}
    protocol = 0
    with nullcontext(file) if hasattr(file, 'seek') else open(file, 'rb') as stream:
        pickles = _open_pickles(stream)
        if pickles is None:
            return None
        try:
            while True:  # a file from before torch 1.6 holds several pickles in sequence
                for opcode, value in _scan_types(pickles):
                    if opcode == 'PROTO':
                        protocol = max(protocol, value)
                    elif value not in safe and not PLAIN_DATA.fullmatch(value):
                        return value
        except ValueError:  # the end, or not a pickle
            return f'pickle protocol {protocol}' if protocol > 2 else None


def _open_pickles(stream: Any) -> Any:
    """Open the pickle in a checkpoint: a member of a zip archive, or the file itself."""
    stream.seek(0)
    if not zipfile.is_zipfile(stream):
        stream.seek(0)
        return stream
    archive = zipfile.ZipFile(stream)
    name = next((name for name in archive.namelist() if name.endswith('data.pkl')), None)
    return None if name is None else archive.open(name)


def _scan_types(stream: Any) -> Iterator[tuple[str, Any]]:
    """Yield the protocol and the types that a pickle refers to, from its opcodes alone."""
    memo: dict[int, str | None] = {}
    # The last two texts on the stack, by which STACK_GLOBAL refers to a type.
    pushed: deque[str | None] = deque([None, None], maxlen=2)
    value: Any
    for opcode, value, _ in pickletools.genops(stream):
        name = opcode.name
        if name == 'PROTO':
            yield name, value
        elif name in ('GLOBAL', 'INST'):
            yield name, value.replace(' ', '.')
            pushed.append(None)
        elif name == 'STACK_GLOBAL':
            yield name, '.'.join(text or '?' for text in pushed)
            pushed.append(None)
        elif name == 'MEMOIZE':
            memo[len(memo)] = pushed[-1]
        elif name.endswith('PUT'):
            memo[value] = pushed[-1]
        elif name.endswith('GET'):
            pushed.append(memo.get(value))
        elif opcode.stack_after:
            pushed.append(value if isinstance(value, str) else None)
