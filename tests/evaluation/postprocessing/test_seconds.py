"""Widths in frames and in seconds."""

import pytest

from abaw_mm.evaluation.postprocessing.seconds import Seconds, parse_smoothing, parse_width


@pytest.mark.parametrize(
    ('text', 'width', 'written'),
    [
        ('25', 25, '25'),
        ('0', 0, '0'),
        ('1.0s', Seconds(1), '1s'),
        ('0.040s', Seconds(0.04), '0.04s'),
    ],
)
def test_widths_are_parsed_and_written(text, width, written):
    got = parse_width(text)
    assert got == width and type(got) is type(width) and f'{got}' == written
    assert parse_width(written) == width


@pytest.mark.parametrize('text', ['', 's', '-1', '1.5', '1e3s', 'nan', 'infs', '1 s', '1.0ss', '٣'])
def test_other_widths_are_refused(text):
    with pytest.raises(ValueError, match='got the width .*, expected frames, such as 25, or sec'):
        parse_width(text)


def test_method_and_width():
    assert parse_smoothing('gaussian:0.2s') == ('gaussian', Seconds(0.2))
    for text in ('box', 'box:', 'mean:3', ':1.0s'):
        with pytest.raises(ValueError, match='expected METHOD:WIDTH, such as box:1.0s'):
            parse_smoothing(text)
    with pytest.raises(ValueError, match="got the width '1:2'"):
        parse_smoothing('box:1:2')


def test_a_negative_number_of_seconds_is_written_in_full():
    assert [str(Seconds(x)) for x in (10, 0.1234564, 1e-6, -2)] == [
        '10s',
        '0.123456s',
        '0.000001s',
        '-2s',
    ]
