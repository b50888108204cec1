"""Which mistakes are shown."""

import numpy as np
import pytest
from PIL import Image

from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.evaluation.metrics.frame_metric import FrameResults
from abaw_mm.visualization.report.surest_mistakes import (
    locate_crops,
    surest_mistakes,
    thumbnail,
)


def of(clip_id, label, pred, confidence):
    score = np.zeros((len(label), 3), np.float32)
    score[np.arange(len(label)), pred] = confidence
    clip_id = np.array(clip_id)
    return FrameResults(
        [f'v{i}' for i in range(clip_id.max() + 1)],
        clip_id,
        np.arange(1, 1 + len(label)),
        np.array(label),
        np.array(pred),
        score,
    )


def test_a_frame_of_each_stretch():
    r = of(
        [0] * 6 + [1] * 2,
        [0, 0, 0, 0, 0, 1, 1, 1],
        [1, 1, 0, 1, 2, 2, 2, 1],
        [0.5, 0.9, 0.99, 0.8, 0.7, 0.6, 0.95, 0.99],
    )
    assert surest_mistakes(r, 10).tolist() == [6, 1, 3, 4]  # row 5 is a fourth stretch of v0
    assert surest_mistakes(r, 10, per_clip=9).tolist() == [6, 1, 3, 4, 5]
    assert surest_mistakes(r, 2).tolist() == [6, 1]


def test_no_mistake():
    assert surest_mistakes(of([0, 0], [1, 1], [1, 1], 0.9), 5).tolist() == []


def test_crops(tmp_path):
    r = of([0, 0, 1], [0, 0, 0], [1, 1, 1], 0.9)
    for name in ('v0/00001.jpg', 'v0/00002.png', 'v1/00003.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new('RGB', (224, 112)).save(tmp_path / name)
    roots = [CropFolder(tmp_path)]
    assert locate_crops(r, roots).tolist() == [0, 1, 0]
    assert thumbnail(str(tmp_path / 'v0/00002.png')).startswith('data:image/jpeg;base64,/9j/')
    (tmp_path / 'v0/00002.png').unlink()
    with pytest.raises(FileNotFoundError, match=r"no crop of 1 of the 3 frames .*'v0/2'"):
        locate_crops(r, roots)
