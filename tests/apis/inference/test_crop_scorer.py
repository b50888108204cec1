"""Test that crops in memory get the scores of tools/test.py, in the fast and in the plain way."""

import numpy as np
import pytest
from small_model import write_small_model

from abaw_mm.apis.inference.crop_scorer import CropScorer
from abaw_mm.apis.test import test as run_test
from abaw_mm.datasets.crops.load_face_crop import read_crop
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation import Predictions


@pytest.mark.parametrize('base', ['res18_srp_affwild2', 'res18_srp_affwild2_plain'])
def test_scores_are_those_of_the_test_command(repo, tiny, tmp_path, base):
    config, checkpoint = write_small_model(repo, tiny, tmp_path, base)
    out = tmp_path / 'predictions.npz'
    run_test(config, checkpoint, work_dir=str(tmp_path / 'work'), out=str(out))
    want = Predictions.read(out)
    crops = np.stack(
        [
            read_crop(str(tiny / f'cropped_aligned/{clip}/{frame:05d}.jpg'))[..., ::-1]
            for clip, frame in zip(want.clip, want.frame_no, strict=True)
        ]
    )
    scorer = CropScorer(config, checkpoint)
    assert scorer.classes == want.classes
    assert (scorer.sha256, scorer.config) == (want.sha256, 'small')
    assert np.ptp(want['pred_score'], axis=0).max() > 0.01
    np.testing.assert_allclose(scorer(crops), want['pred_score'], atol=1e-6)
    np.testing.assert_array_equal(scorer(crops[:1]).argmax(1), want['pred_label'][:1])
    assert scorer(crops[:0]).shape == (0, 8)


def test_config_of_windows_is_refused(repo):
    with pytest.raises(InvalidValueError, match='classifier of single frames'):
        CropScorer(str(repo / 'configs/temporal_tcn_affwild2.py'), 'README.md')


def test_unknown_device_is_named(repo, tiny, tmp_path):
    files = write_small_model(repo, tiny, tmp_path, 'res18_srp_affwild2')
    with pytest.raises(InvalidValueError, match=r"--device: got 'cuba'"):
        CropScorer(*files, device='cuba')
