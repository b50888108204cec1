"""Test the names of persons."""

import numpy as np
import pytest

from abaw_mm.video.track.face_tracks import FaceTracks
from abaw_mm.video.track.name_faces import name_faces


@pytest.mark.parametrize(
    ('middles', 'counts', 'names'),
    [
        ([], [], []),
        ([50], [4], ['v']),
        ([90, 10], [4, 4], ['v_right', 'v_left']),
        ([10, 90], [4, 9], ['v_left', 'v_right']),
        ([10, 20, 30, 5], [2, 9, 3, 8], ['v_3', 'v_right', 'v_4', 'v_left']),
    ],
)
def test_names_follow_position_and_number_of_frames(middles, counts, names):
    clip_id = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    box = np.repeat(np.array(middles, np.float32), counts)[:, None] + [-5, 0, 5, 10]
    frame_no = np.concatenate([np.arange(n) for n in counts] or [[]]).astype(np.int32) + 1
    tracks = FaceTracks([str(i) for i in range(len(counts))], clip_id, frame_no, dict(box=box))
    assert name_faces(tracks, 'v').clips == names
