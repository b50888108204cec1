"""Test identities on real frames, of which persons and places are known."""

import numpy as np
import pytest

from abaw_mm.video.find.mtcnn import MTCNNFinder
from abaw_mm.video.track.face_tracker import FaceTracker
from abaw_mm.video.video_frame import VideoFrame

pytest.importorskip('facenet_pytorch')


def track(images, stem='clip', rate=30.0, **options):
    tracker = FaceTracker(MTCNNFinder(), **options)
    updates = [
        tracker.update(VideoFrame(index, index / rate, image)) for index, image in enumerate(images)
    ]
    return updates, *tracker.finish(stem)


def test_face_that_leaves_at_a_cut(real_frames):
    images = real_frames('face_noface.mov', range(64, 82))
    updates, tracks, rows = track(images)
    assert tracks.clips == ['clip'] and tracks.frame_no.tolist() == list(range(1, 9))
    assert [len(faces) for _, faces in updates] == [1] * 8 + [0] * 10
    assert rows.tolist() == list(range(8))
    assert tracks.size == (960, 540)
    np.testing.assert_allclose(tracks.time, np.arange(18) / 30)
    every = np.concatenate([faces.box for _, faces in updates])
    np.testing.assert_array_equal(tracks['box'], every[rows])
