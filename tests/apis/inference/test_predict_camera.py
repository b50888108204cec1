"""Test a live source: what is drawn and written, and that no frame is late."""

import csv
import time
from pathlib import Path

import av
import numpy as np
import pytest
from compose_video import compose, draw_faces, stay
from conftest import write_clip
from small_model import write_small_model

from abaw_mm.apis import export_onnx
from abaw_mm.apis.inference import predict_camera as module
from abaw_mm.apis.inference.predict_camera import predict_camera
from abaw_mm.errors import FileAccessError, MissingPackageError
from abaw_mm.evaluation import Predictions

pytest.importorskip('facenet_pytorch')


class PlayedCapture:
    """Play pictures like a camera: each is there for a while, whoever reads it."""

    def __init__(self, images, seconds):
        self.images, self.seconds = list(images), seconds

    def read(self):
        time.sleep(self.seconds)
        if not self.images:
            return False, None
        return True, self.images.pop(0)[..., ::-1]

    def release(self):
        self.images = []


@pytest.fixture(scope='module')
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp('model')
    return write_small_model(request.path.parents[3], folder, folder, 'res18_srp_affwild2')


@pytest.fixture(scope='module')
def images():
    return compose(draw_faces(1, seed=1), [stay(60, 160, 120, 140)]).images


def test_files_of_a_camera(model, images, tmp_path):
    result = predict_camera(*model, PlayedCapture(images, 0.02), out=str(tmp_path), detect_every=4)
    predictions = Predictions.read(tmp_path / 'camera.npz')
    assert predictions.clips == ['camera'] and 2 <= len(predictions) <= 60
    np.testing.assert_array_equal(predictions['pred_score'], result.predictions['pred_score'])
    with open(tmp_path / 'camera.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    times = [float(row['timestamp']) for row in rows]
    assert times[0] == 0 and np.all(np.diff(times) > 0) and times[-1] < 5
    assert [int(row['frame']) for row in rows] == list(range(len(rows)))
    with av.open(str(tmp_path / 'camera_drawn.mp4')) as container:
        drawn = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    np.testing.assert_allclose(drawn, times, atol=1e-4)


@pytest.mark.slow
def test_exported_network_gives_the_scores_of_the_checkpoint(model, images, tmp_path):
    for package in ('onnx', 'onnxruntime', 'onnxscript'):
        pytest.importorskip(package)
    config, checkpoint = model
    write_clip(Path(config).parent, 'Validation_Set', 'a', list(range(8)), size=112)
    network = str(tmp_path / 'small.onnx')
    export_onnx(config, checkpoint, network)
    scores = []
    for source in (
        dict(checkpoint=checkpoint, cfg_options={'model.mixed_precision': False}),
        dict(checkpoint=None, onnx=network),
    ):
        camera = PlayedCapture(images[:1] * 8, 0.02)  # any of them may be dropped
        result = predict_camera(config, camera=camera, out=str(tmp_path), **source)
        scores.append(result.predictions['pred_score'][0])
    want, got = scores
    assert want.std() > 0.01
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_slow_computer_drops_frames_and_stays_up_to_date(model, images, tmp_path, monkeypatch):
    ages = []

    class Window:
        is_closed = False

        def __init__(self, title):
            pass

        def __enter__(self):
            self.start = None
            return self

        def __exit__(self, *error):
            pass

        def write(self, at, image):
            now = time.monotonic()
            self.start = now - at if self.start is None else self.start
            ages.append(now - self.start - at)
            time.sleep(0.1)  # five times slower than the camera
            self.is_closed = len(ages) == 8

    monkeypatch.setattr(module, 'LiveWindow', Window)
    result = predict_camera(*model, PlayedCapture(images * 3, 0.02))
    assert len(ages) == 8 == len(result.tracks.time)
    # With every frame of the camera, the eighth would be 0.56 s late and the delay would grow.
    assert ages[-1] - ages[3] < 0.3


def test_missing_camera_and_missing_display(model, tmp_path, monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    with pytest.raises(MissingPackageError, match='a window cannot be opened'):
        predict_camera(*model, PlayedCapture([], 0))
    with pytest.raises(FileAccessError, match='got no frame; plug it in'):
        predict_camera(*model, PlayedCapture([], 0), out=str(tmp_path))
    assert not list(tmp_path.iterdir())
