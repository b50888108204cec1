"""Errors of mmengine become user errors that name the config."""

import pytest

from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.errors import InvalidTypeError, InvalidValueError


def fail_without_message():
    raise AssertionError


@pytest.mark.parametrize(
    ('raised', 'message'),
    [
        (fail_without_message, 'my.py: AssertionError in fail_without_message: raise Assert'),
        (lambda: {}['gone'], 'my.py: gone'),
        (lambda: int('x'), 'my.py: invalid literal'),
    ],
)
def test_errors_of_mmengine_become_user_errors(raised, message):
    with pytest.raises(InvalidValueError, match=message), convert_config_errors('my.py'):
        raised()


@pytest.mark.parametrize('error', [RuntimeError('x'), InvalidTypeError('x')])
def test_other_errors_pass_through(error):
    with pytest.raises(type(error)) as exc_info, convert_config_errors('my.py'):
        raise error
    assert exc_info.value is error
