"""The width of the neck's output is checked before the first step."""

import pytest
from mmengine.runner import Runner
from tiny_run import tiny_cfg


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'model.head.in_channels': 512},
            r'model.head.in_channels: got 512, expected 2304, .* for images of 224x224 pixels',
        ),
        (
            {'data_preprocessor.crop_size': 112},
            r'model.head.in_channels: got 2304, expected 256, .* for images of 112x112 pixels',
        ),
        ({'data_preprocessor.crop_size': 64}, 'got a map of 2x2 cells'),
    ],
)
def test_widths_are_checked_before_training(repo, tiny, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(tiny_cfg(repo, tiny, tmp_path, **options)).train()
    assert not list(tmp_path.glob('*.pth'))
