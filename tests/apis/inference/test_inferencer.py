"""mmpretrain's own inferencer gives the scores of tools/test.py, in the fast and the plain way."""

import numpy as np
import pytest
import torch
from mmpretrain import ImageClassificationInferencer, get_model, inference_model
from small_model import write_small_model

from abaw_mm.apis.test import test as run_test
from abaw_mm.datasets import LoadFaceCrop
from abaw_mm.datasets.crops.load_face_crop import read_crop
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation import Predictions
from abaw_mm.models import FrameDataPreprocessor


@pytest.mark.parametrize('base', ['res18_srp_affwild2', 'res18_srp_affwild2_plain'])
def test_scores_are_those_of_the_test_command(repo, tiny, tmp_path, base):
    config, checkpoint = write_small_model(repo, tiny, tmp_path, base)
    # bfloat16 would leave differences of 0.003, because the test command fuses BatchNorm.
    exact = {'model.mixed_precision': False} if base == 'res18_srp_affwild2' else {}
    work, out = str(tmp_path / 'work'), str(tmp_path / 'p.npz')
    run_test(config, checkpoint, work_dir=work, out=out, cfg_options=exact)
    want = Predictions.read(out)
    assert np.ptp(want['pred_score'], axis=0).max() > 0.01
    paths = [
        str(tiny / f'cropped_aligned/{clip}/{frame:05d}.jpg')
        for clip, frame in zip(want.clip, want.frame_no, strict=True)
    ]
    inferencer = ImageClassificationInferencer(config, checkpoint)
    inferencer.model.mixed_precision = False
    for inputs in (paths, [read_crop(path) for path in paths]):  # arrays are BGR
        found = inferencer(inputs, batch_size=4)
        np.testing.assert_allclose([x['pred_scores'] for x in found], want['pred_score'], atol=1e-5)
        assert [x['pred_label'] for x in found] == want['pred_label'].tolist()
        assert found[0]['pred_class'] == want.classes[want['pred_label'][0]]


@pytest.mark.parametrize('base', ['res18_srp_112_affwild2', 'res18_srp_affwild2_plain'])
def test_model_by_name(base):
    picture = np.random.default_rng(0).integers(0, 255, (112, 112, 3)).astype(np.uint8)
    model = get_model(f'abaw_{base}', pretrained=False)
    found = inference_model(model, picture)
    assert found['pred_scores'].shape == (8,) and found['pred_scores'].sum() == pytest.approx(1)
    again = ImageClassificationInferencer(model)([picture[:, ::-1], picture], batch_size=2)[1]
    np.testing.assert_allclose(found['pred_scores'], again['pred_scores'], atol=0.01)


def test_fast_equals_plain(repo, tiny, tmp_path):
    config, checkpoint = write_small_model(repo, tiny, tmp_path, 'res18_srp_affwild2_plain')
    plain = ImageClassificationInferencer(config, checkpoint)
    fast = ImageClassificationInferencer(
        write_small_model(repo, tiny, tmp_path, 'res18_srp_affwild2')[0], checkpoint
    )
    fast.model.load_state_dict(plain.model.state_dict())
    fast.model.mixed_precision = False
    rng = np.random.default_rng(0)
    pictures = [
        np.kron(rng.integers(0, 255, (*size, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        for size in ((14, 14), (20, 15), (9, 12))
    ]
    scores = [[x['pred_scores'] for x in way(pictures)] for way in (plain, fast)]
    assert np.ptp(scores[0], axis=0).max() > 0.01
    np.testing.assert_allclose(*scores, atol=1e-5)


@pytest.mark.parametrize('images', [torch.zeros(1, 9, 9, 3), torch.zeros(1, 9, 9).byte()])
def test_other_pictures_are_refused(images):
    preprocessor = FrameDataPreprocessor(mean=[0], std=[1])
    with pytest.raises(
        InvalidValueError, match=r'got pictures of shape \(9, 9.*expected \(H, W, 3'
    ):
        preprocessor(dict(img=images))


def test_loaded_picture_is_kept_and_a_path_is_read(tmp_path):
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    picture = LoadFaceCrop()(dict(img=image[..., ::-1]))
    np.testing.assert_array_equal(picture['img'], image[..., ::-1])
    with pytest.raises(ValueError, match='expected a whole image'):
        LoadFaceCrop()(dict(picture, img_path=str(tmp_path / 'none.jpg')))
