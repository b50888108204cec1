"""Selection of mistakes and their pictures."""

import numpy as np
import pytest
from PIL import Image

from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.evaluation import Predictions
from abaw_mm.visualization.report.tracks.mistakes import (
    find_mistakes,
    locate_crops,
    make_thumbnails,
)


def make_predictions(clip_id, label, pred, confidence):
    """Make predictions of three classes with the given confidence."""
    rows = np.arange(len(label))
    score = np.zeros((len(label), 3), np.float32)
    score[:] = (1 - np.array(confidence, ndmin=2).T) / 2
    score[rows, pred] = confidence
    return Predictions(
        [f'v{i}' for i in range(max(clip_id) + 1)],
        np.array(clip_id),
        1 + rows,
        dict(gt_label=np.array(label), pred_label=np.array(pred), pred_score=score),
        ['a', 'b', 'c'],
    )


def test_one_frame_of_each_stretch():
    frames = make_predictions(
        [0] * 6 + [1] * 2,
        [0, 0, 0, 0, 0, 1, 1, 1],
        [1, 1, 0, 1, 2, 2, 2, 1],
        [0.5, 0.9, 0.99, 0.8, 0.7, 0.6, 0.95, 0.99],
    )
    assert find_mistakes(frames, 10).tolist() == [6, 1, 3, 4]  # row 5 is a fourth stretch of v0
    assert find_mistakes(frames, 10, per_clip=9).tolist() == [6, 1, 3, 4, 5]
    assert find_mistakes(frames, 2).tolist() == [6, 1]


def test_no_mistake():
    assert find_mistakes(make_predictions([0, 0], [1, 1], [1, 1], 0.9), 5).tolist() == []


def test_crops_are_located_or_missing(tmp_path):
    frames = make_predictions([0, 0, 1], [0, 0, 0], [1, 1, 1], 0.9)
    for name in ('v0/00001.jpg', 'v0/00002.png', 'v1/00003.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new('RGB', (224, 112)).save(tmp_path / name)
    roots = [CropFolder(tmp_path)]
    assert locate_crops(frames, roots).tolist() == [0, 1, 0]
    thumbnails = make_thumbnails(frames, np.array([1, 0]), roots, np.array([0, 1, 0]))
    assert all(text.startswith('data:image/jpeg;base64,/9j/') for text in thumbnails)
    (tmp_path / 'v0/00002.png').unlink()
    with pytest.raises(FileNotFoundError, match=r"no crop of 1 of the 3 frames .*'v0/2'"):
        locate_crops(frames, roots)
