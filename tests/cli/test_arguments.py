"""Arguments that several commands share."""

import pytest

from abaw_mm.cli import CommandParser, smooth_argument
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.postprocessing.seconds import Seconds


def test_smooth_is_a_postprocessing(capsys):
    parser = CommandParser('Do it.', smooth_argument())
    assert parser.parse_args([]).smooth is None
    smooth = parser.parse_args(['--smooth', 'gaussian:0.2s']).smooth
    assert smooth == Postprocess(method='gaussian', width=Seconds(0.2))
    with pytest.raises(SystemExit):
        parser.parse_args(['--smooth', 'box'])
    error = capsys.readouterr().err
    assert "--smooth: got the smoothing 'box', expected METHOD:WIDTH" in ' '.join(error.split())
