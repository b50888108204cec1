"""Test that pictures and videos get the columns of the model's track."""

import csv
import re

import numpy as np
import pytest
import torch
from compose_video import compose, draw_faces, make_pictures, stay, write_video
from PIL import Image
from small_model import write_small_model
from test_predict_camera import PlayedCapture

from abaw_mm.apis import load_classifier, predict_camera, predict_images, predict_video
from abaw_mm.apis.config import load_config
from abaw_mm.apis.inference.crop_scorer import CropScorer
from abaw_mm.apis.inference.write_video_result import Outputs
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.structures.tasks import EXPRESSIONS
from abaw_mm.video.decode import VideoReader

pytest.importorskip('facenet_pytorch')

AFFECT = ['valence', 'arousal']
UNITS = ['AU01', 'AU02', 'AU04', 'AU06', 'AU07', 'AU10', 'AU12', 'AU15', 'AU23', 'AU24', 'AU25']
UNITS += ['AU26']
CLASSES = [name.lower() for name in EXPRESSIONS]
COLUMNS = {
    'va': AFFECT,
    'au': UNITS,
    'mtl': [*CLASSES, *AFFECT, *UNITS, 'label', 'confidence'],
}


@pytest.fixture(scope='module')
def models(request, tmp_path_factory):
    repo = request.path.parents[3]
    files = {}
    for task in COLUMNS:
        folder = tmp_path_factory.mktemp(task)
        files[task] = write_small_model(repo, folder, folder, f'res18_srp_{task}')
        with open(files[task][0], 'a') as file:
            file.write('model.update(mixed_precision=False)\n')
    return files


@pytest.fixture(scope='module')
def crops():
    return np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)


def read(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def score_by_hand(scorer, crops):
    """Apply the functions of the track to the outputs of the linear layers."""
    outputs = {}
    hooks = [
        layer.register_forward_hook(lambda layer, x, y: outputs.update({y.shape[1]: y.double()}))
        for layer in scorer.model.head.modules()
        if isinstance(layer, torch.nn.Linear)
    ]
    scorer(crops)
    for hook in hooks:
        hook.remove()
    functions = {2: torch.tanh, 8: lambda x: x.softmax(dim=1), 12: torch.sigmoid}
    return {size: functions[size](values).cpu().numpy() for size, values in outputs.items()}


@pytest.mark.parametrize('task', COLUMNS)
def test_crops_have_the_outputs_of_the_head(models, crops, task):
    scorer = CropScorer(*models[task])
    want = score_by_hand(scorer, crops)
    got = scorer.split(scorer(crops))
    sizes = dict(pred_va=2, pred_score=8, pred_au=12)
    assert scorer.task == task and {sizes[name] for name in got} == set(want)
    for name, values in got.items():
        np.testing.assert_allclose(values, want[sizes[name]], atol=1e-6)
        assert np.ptp(values, axis=0).max() > 0.001
    assert {name: len(x) for name, x in scorer.split(scorer(crops[:0])).items()} == dict.fromkeys(
        got, 0
    )


@pytest.mark.parametrize('task', COLUMNS)
def test_table_of_pictures_has_the_columns_of_py_feat(models, crops, task, tmp_path):
    paths = [tmp_path / f'{number}.png' for number in range(len(crops))]
    for path, crop in zip(paths, crops, strict=True):
        Image.fromarray(crop).save(path)
    result = predict_images(*models[task], paths)
    result.write(tmp_path / 'p.csv')
    rows = read(tmp_path / 'p.csv')
    assert list(rows[0])[8:] == COLUMNS[task]
    for name, columns in dict(pred_va=AFFECT, pred_score=CLASSES, pred_au=UNITS).items():
        if name in result.predicted:
            got = [[float(row[column]) for column in columns] for row in rows]
            np.testing.assert_allclose(got, result.predicted[name], atol=1e-6)
    if task == 'mtl':
        assert rows[0]['label'] == CLASSES[result.pred_score[0].argmax()]


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    """A video of three frames with a face and one without."""
    images = compose(draw_faces(1, seed=1), [stay(3, 150, 120, 140)]).images
    path = tmp_path_factory.mktemp('video') / 'one.mp4'
    stamps = [0, 40, 80, 120]
    write_video(path, [*images, *make_pictures(1, 320, 240)], stamps)
    return path


@pytest.mark.parametrize('task', COLUMNS)
def test_table_and_predictions_of_a_video_have_the_columns_of_the_track(
    models, video, task, tmp_path
):
    predict_video(*models[task], [str(video)], str(tmp_path / 'out'))
    rows = read(tmp_path / 'out/one.csv')
    found = Predictions.read(tmp_path / 'out/one.npz')
    assert found.task == task and len(found) == 3
    assert list(rows[0])[10:] == COLUMNS[task]
    assert [row['success'] for row in rows] == ['1', '1', '1', '0']
    assert set(list(rows[3].values())[5:]) == {''}
    for name, columns in dict(pred_va=AFFECT, pred_score=CLASSES, pred_au=UNITS).items():
        if name in found.columns:
            got = [[float(row[column]) for column in columns] for row in rows[:3]]
            np.testing.assert_allclose(got, found[name], atol=1e-6)


@pytest.mark.parametrize('task', ['va', 'au', 'mtl'])
def test_video_of_a_track_is_drawn_and_reported(models, video, task, tmp_path):
    outputs = Outputs(drawn=True, report=True)
    (result,) = predict_video(*models[task], [str(video)], str(tmp_path), outputs=outputs)
    page = (tmp_path / 'one.html').read_text(encoding='utf-8')
    found, length = result.predictions, np.diff(result.tracks.time)
    length = np.append(length, np.median(length))[found.frame_no - 1]
    if 'pred_va' in found.columns:
        rows = re.findall(r'<tr>.*?</tr>', page.split('<table class="means">')[1], re.S)
        cells = [float(x.replace('\u2212', '-')) for x in re.findall(r'<td>([^< ]+)</td>', rows[1])]
        pred = found['pred_va'].astype(np.float64)
        mean = np.average(pred, axis=0, weights=length)
        deviation = np.sqrt(np.average((pred - mean) ** 2, axis=0, weights=length))
        expected = np.stack([mean, deviation, pred.min(axis=0), pred.max(axis=0)], axis=1)
        assert cells[:8] == pytest.approx(expected.ravel().tolist(), abs=5.1e-4)
    if 'pred_au' in found.columns:
        shares = dict(
            re.findall(r'<th>(AU\d+)</th>\n<td>([\d.]+) %</td>', page.split('class="units"')[-1])
        )
        active = found['pred_au'] >= 0.5
        expected = 100 * length @ active / length.sum()
        names = [f'AU{int(name[2:])}' for name in UNITS]
        assert {name: float(x) for name, x in shares.items()} == pytest.approx(
            {n: x for n, x in zip(names, expected, strict=True) if x}, abs=0.051
        )
    assert ('Happiness' in page) == (task == 'mtl')
    images = [frame.image for frame in VideoReader(tmp_path / 'one_drawn.mp4')]
    source = next(iter(VideoReader(video))).image
    assert len(images) == 4 and images[0].shape[1] > source.shape[1]
    beside = images[1][:, -150:].astype(int)
    assert np.ptp(beside, axis=(0, 1)).min() > 100  # values are drawn


@pytest.mark.parametrize('task', COLUMNS)
def test_smoothing_takes_the_mean_of_every_column(models, video, task, tmp_path):
    found = []
    for name, smoothing in ('raw', None), ('smooth', Postprocess(width=3)):
        predict_video(*models[task], [str(video)], str(tmp_path / name), smoothing=smoothing)
        found.append(Predictions.read(tmp_path / name / 'one.npz'))
    raw, smooth = found
    for name in ('pred_va', 'pred_score', 'pred_au'):
        if name in raw.columns:
            np.testing.assert_allclose(smooth[name][1], raw[name].mean(axis=0), atol=1e-6)
            assert np.ptp(raw[name], axis=0).max() > 1e-5


@pytest.mark.parametrize('task', ['va', 'au'])
def test_camera_draws_a_model_without_expressions(models, video, task, tmp_path):
    pictures = [frame.image for frame in VideoReader(video)]
    result = predict_camera(
        *models[task], PlayedCapture(pictures[:3] * 10, 0.02), out=str(tmp_path)
    )
    assert result.predictions.task == task and len(result.predictions) >= 1
    drawn = [frame.image for frame in VideoReader(tmp_path / 'camera_drawn.mp4')]
    assert len(drawn) == len(result.tracks.time)
    assert np.ptp(drawn[0][:, -150:].astype(int), axis=(0, 1)).min() > 100


def test_model_of_another_track_is_refused_where_classes_are_needed(models):
    config, checkpoint = models['va']
    with pytest.raises(InvalidValueError, match="got a model of the track 'va', expected 'expr'"):
        load_classifier(load_config(config), checkpoint)
