"""Checkpoints that run a command when they are read without a safeguard."""

import functools
import os
import subprocess
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Custom:
    """An object of an unknown class, which creates a file when its state is set."""

    def __init__(self, path):
        self.path = str(path)

    def __setstate__(self, state):
        Path(state['path']).touch()


# Name: the object to hide, given the file that it creates, and the type that the error must name.
ATTACKS = {
    'os.system': (lambda path: Call(os.system, f'touch {path}'), r'(posix|nt)\.system'),
    'eval': (lambda path: Call(eval, f'open({str(path)!r}, "w").close()'), r'builtins\.eval'),
    # its pickle names commands.Popen
    'subprocess': (lambda path: Call(subprocess.Popen, ['touch', str(path)]), 'Popen'),
    'custom class': (Custom, r'hostile\.Custom'),
}
# Objects that are refused although they do no harm by themselves.
REFUSED = {
    'partial': (
        lambda path: Call(functools.partial, open, str(path), 'w'),
        r'functools\.partial',
    ),
    'getattr of a module': (
        lambda path: Call(getattr, Call(__import__, 'os'), 'system'),
        r'builtins\.__import__',
    ),
    'getattr of globals': (
        lambda path: Call(getattr, Call(getattr, HistoryBuffer, '__init__'), '__globals__'),
        r"builtins\.getattr of '__init__' of .*HistoryBuffer",
    ),
    'getattr of another method': (
        lambda path: Call(getattr, HistoryBuffer, 'register_statistics'),
        r"builtins\.getattr of 'register_statistics'",
    ),
    'getattr of a string': (
        lambda path: Call(getattr, 'text', 'format'),
        r"builtins\.getattr of 'format' of 'text'",
    ),
    'config': (lambda path: dict(meta=Config(dict(a=1))), r'mmengine\.config'),
    'path': (lambda path: Path('x'), r'pathlib'),
}


def save_hostile(path, name, sentinel, zipped=True, state_dict=None):
    """Save a checkpoint with a hidden object, and return the pattern that the error must match."""
    make, match = {**ATTACKS, **REFUSED}[name]
    content = dict(
        state_dict=state_dict or dict(w=torch.ones(1)),
        meta=dict(epoch=1, iter=1, hidden=make(sentinel)),
    )
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return match
