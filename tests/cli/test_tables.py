"""Tables and JSON as the commands write them."""

import io

from abaw_mm.cli import make_console, make_table


def test_table_is_plain_markdown():
    stream = io.StringIO()
    table = make_table(['name', 'F1'], [['a', None], ['[b]', 12.5]])
    make_console(stream).print(table)
    lines = [line.strip() for line in stream.getvalue().splitlines() if line.strip()]
    assert lines == ['| name |   F1 |', '|------|------|', '| a    |    - |', '| [b]  | 12.5 |']


def test_columns_aligned_to_the_left():
    stream = io.StringIO()
    make_console(stream).print(make_table(['number', 'text'], [[1, 'x']], left=['text']))
    assert '|      1 | x    |' in stream.getvalue()


def test_lines_are_neither_wrapped_nor_interpreted():
    stream = io.StringIO()
    make_console(stream).print('[bold] gpu:100:' + 'x' * 300)
    assert stream.getvalue() == '[bold] gpu:100:' + 'x' * 300 + '\n'


def test_names_in_a_table_are_complete():
    long = [f'{"x" * 200}{end}' for end in 'ab']  # folded, not cut
    stream = io.StringIO()
    make_console(stream).print(make_table(['a:100:', '[b]'], [['gpu:100:', name] for name in long]))
    text = stream.getvalue()
    assert text.count(':100:') == 3 and '[b]' in text
    assert text.count('x') == 400 and text.count('a |') == text.count('b |') == 1
