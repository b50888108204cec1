"""Arguments of commands and how wrong ones are reported."""

import pytest

from abaw_mm.cli import CommandParser, cfg_options_argument, smoothing_arguments


def test_help_shows_docstring_parents_and_exit_statuses(capsys):
    with pytest.raises(SystemExit) as exit_info:
        CommandParser('Do it.\n\n    example --width 5\n', smoothing_arguments()).parse_args(['-h'])
    text = capsys.readouterr().out
    assert exit_info.value.code == 0
    assert 'Do it.\n\n    example --width 5\n' in text
    assert '--hold' in text and 'exit status: 0 done' in text


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ('amp', "got 'amp', expected KEY=VALUE"),
        ('=3', "got '=3', expected KEY=VALUE"),
        ('x=[1,(2]', 'quote a value with brackets'),
        ('x=dict(a=1', "got 'dict(a=1', expected literals such as dict"),
        ('x=dict(a=open)', "got 'dict(a=open)', expected literals such as dict"),
        ('x=dict(**a)', 'expected literals such as dict'),
    ],
)
def test_wrong_override_is_a_wrong_argument(capsys, value, message):
    with pytest.raises(SystemExit) as exit_info:
        CommandParser('x', cfg_options_argument('a=1')).parse_args(['--cfg-options', value])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith('usage: ') and message in error


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('dict(va=1,au=0.5)', dict(va=1, au=0.5)),
        ("dict(type='A', b=[1, dict(c=(2, None))])", dict(type='A', b=[1, dict(c=(2, None))])),
        ("{'va': 1, 'x': {'y': True}}", dict(va=1, x=dict(y=True))),
    ],
)
def test_override_may_be_a_dict(text, value):
    parser = CommandParser('x', cfg_options_argument('a=1'))
    args = parser.parse_args(['--cfg-options', f'model.head.weights={text}', 'a=[1,2]'])
    assert args.cfg_options == {'model.head.weights': value, 'a': [1, 2]}


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('/data/Aff Wild2', '/data/Aff Wild2'),
        ('my weights/a, b.pth', 'my weights/a, b.pth'),
        ('["/a b","c"]', ['/a b', 'c']),
        ('[dict(type="EMAHook", momentum=0.1)]', [dict(type='EMAHook', momentum=0.1)]),
        ("({'a': 1}, 2)", ({'a': 1}, 2)),
        ('1, 2', [1, 2]),
        ('(256)', (256,)),
        ('[a, b]', ['a', 'b']),
    ],
)
def test_override_keeps_spaces_of_a_text_and_dicts_in_lists(text, value):
    args = CommandParser('x', cfg_options_argument('a=1')).parse_args(
        ['--cfg-options', f'a={text}']
    )
    assert args.cfg_options == {'a': value}


def test_wrong_arguments_of_several_processes_are_recorded_for_the_launcher(
    tmp_path, monkeypatch, capsys
):
    path = tmp_path / 'error.json'
    monkeypatch.setenv('ABAW_MM_LAUNCHED', '1')
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(path))
    with pytest.raises(SystemExit) as exit_info:
        CommandParser('x').parse_args(['--unknown'])
    assert exit_info.value.code == 2 and capsys.readouterr() == ('', '')
    assert 'unrecognized arguments: --unknown' in path.read_text()
