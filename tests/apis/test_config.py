"""Reading a config for a run."""

import pytest

from abaw_mm.apis import load_config
from abaw_mm.errors import InvalidValueError, MissingFileError


def write_config(tmp_path, text):
    path = tmp_path / 'mine.py'
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize('seed', [-1, 2**32, 'x', 1.5])
def test_seed_out_of_range_is_an_error(tmp_path, seed):
    path = write_config(tmp_path, f'randomness = dict(seed={seed!r})')
    with pytest.raises(InvalidValueError, match=r'randomness.seed=.*0..4294967295'):
        load_config(path)


def test_file_that_is_no_config_is_an_error(tmp_path):
    (tmp_path / 'README.md').write_text('# Title')
    with pytest.raises(InvalidValueError, match=r'got another file, expected a config \(.py'):
        load_config(str(tmp_path / 'README.md'))


def test_missing_config_is_an_error():
    with pytest.raises(MissingFileError, match="config='gone.py': no such file"):
        load_config('gone.py')


@pytest.mark.parametrize(
    ('text', 'options', 'message'),
    [
        ("custom_imports = dict(imports=['no_such_module'])", {}, 'no_such_module'),
        ("_base_ = ['gone.py']", {}, 'gone.py'),
        ('load_from = [1]', {'load_from.3.x': 1}, '3'),
    ],
)
def test_unreadable_config_is_a_user_error(tmp_path, text, options, message):
    path = write_config(tmp_path, text)
    with pytest.raises(InvalidValueError, match=f'mine.py: .*{message}'):
        load_config(path, cfg_options=options)


def test_work_dir_is_named_after_the_config(tmp_path):
    path = write_config(tmp_path, 'model = dict()')
    assert load_config(path).work_dir == 'work_dirs/mine'
    assert load_config(path, work_dir='other').work_dir == 'other'
