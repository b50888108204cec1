"""What is told of an error, by whom, and with which status."""

import faulthandler
import os
import sys

import pytest
from mmengine.registry import MODELS
from torch import nn

from abaw_mm.cli import report_errors
from abaw_mm.cli.report_errors import (
    AHEAD,
    first_to_fail,
    is_advice,
)
from abaw_mm.datasets import AffWild2Dataset
from abaw_mm.datasets.crops.crop_folder import FilenameTemplate

MODELS.register_module('TellErrorsToy', module=nn.Linear, force=True)


def caught(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as error:
        return error


def bug_in_ours():
    """A TypeError within the package, which nobody raised."""
    FilenameTemplate('{:05d}.jpg').numbers([1, 2])


def raised_here():
    raise ValueError('of a program that uses this package')


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (lambda: AffWild2Dataset('x', start_index=-1), True),
        (
            lambda: AffWild2Dataset('x', strat_index=1),
            False,
        ),  # called by this test, not by a config
        (lambda: MODELS.build(dict(type='TellErrorsToy', in_features=1, out=1)), True),
        (lambda: MODELS.build(dict(type='NoSuchModel')), True),
        (lambda: MODELS.build(dict(type='TellErrorsToy', in_features='a', out_features=1)), False),
        (bug_in_ours, False),
        (raised_here, False),
        (lambda: int('x'), False),
    ],
)
def test_is_advice(function, expected):
    error = caught(function)
    assert isinstance(error, Exception) and is_advice(error) == expected


def test_an_error_that_was_never_raised_is_none():
    assert not is_advice(ValueError('x'))


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in (
        'TORCHELASTIC_ERROR_FILE',
        'RANK',
        'SLURM_PROCID',
        'OMPI_COMM_WORLD_RANK',
        'ABAW_MM_TRACEBACK',
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, 'argv', ['tools/some.py'])
    monkeypatch.setattr(faulthandler, 'enable', lambda **kwargs: None)  # needs a real stderr


def test_status_and_words(capsys, monkeypatch):
    assert report_errors(lambda: None)() == 0
    assert capsys.readouterr() == ('', '')

    assert report_errors(lambda: AffWild2Dataset('x', start_index=-1))() == 1
    out, err = capsys.readouterr()
    assert not out and 'Traceback' not in err
    assert err.startswith('\nsome.py: AffWild2Dataset: start_index=-1, expected')
    assert err.endswith('ABAW_MM_TRACEBACK=1)\n')

    assert report_errors(lambda: MODELS.build(dict(type='NoSuchModel')))() == 1
    assert 'some.py: NoSuchModel is not in the' in capsys.readouterr().err  # no quotes of KeyError

    assert report_errors(bug_in_ours)() == 1
    err = capsys.readouterr().err
    assert err.startswith('Traceback') and 'in bug_in_ours' in err

    def interrupted():
        raise KeyboardInterrupt

    assert report_errors(interrupted)() == 130
    assert capsys.readouterr().err == 'interrupted\n'

    monkeypatch.setenv('ABAW_MM_TRACEBACK', '1')
    with pytest.raises(ValueError, match='start_index=-1'):
        report_errors(lambda: AffWild2Dataset('x', start_index=-1))()


def test_the_first_process_tells_and_rank_0_goes_ahead(tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr('time.sleep', slept.append)
    for rank in (0, 1):
        folder = tmp_path / f'attempt_0/{rank}'
        folder.mkdir(parents=True)
        monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(folder / 'error.json'))
        monkeypatch.setenv('RANK', str(rank))
        assert first_to_fail() == (rank == 0)
    assert slept == [AHEAD]
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', os.path.join(tmp_path, 'gone/0/error.json'))
    assert first_to_fail()  # better twice than never
