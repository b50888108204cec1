import numpy as np
import pytest

from abaw_mm.audio.align import align_to_frames, get_frame_times


def align_one_by_one(features, times, frame_times, radius):
    rows = []
    for time in frame_times:
        near = np.abs(times - time) <= radius
        if not near.any():
            near[np.abs(times - time).argmin()] = True
        rows.append(features[near].astype(np.float64).mean(0))
    return np.array(rows)


@pytest.mark.parametrize('count', [1, 2, 500])
@pytest.mark.parametrize('radius', [0.5, 0.003])
def test_rows_equal_those_of_a_loop(count, radius):
    rng = np.random.default_rng(count)
    features = rng.normal(3, 1, (count, 4)).astype(np.float32)
    times = np.sort(rng.uniform(1, 4, count))
    frame_times = rng.uniform(0, 6, 200)  # before, within and after the sound
    expected = align_one_by_one(features, times, frame_times, radius)
    got = align_to_frames(features, times, frame_times, radius)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_both_ends_of_the_window_count():
    features = np.array([[1.0], [2.0], [6.0], [9.0]])
    got = align_to_frames(features, np.array([0, 0.5, 1, 1.25]), np.array([0.5]))
    assert got.tolist() == [[3.0]]


def test_numbers_beyond_the_end_follow_at_the_mean_rate():
    times = np.array([0.0, 0.1, 0.3, 0.4])  # variable rate
    step = 0.4 / 3
    np.testing.assert_allclose(
        get_frame_times(times, np.array([1, 3, 4, 6])), [0.0, 0.3, 0.4, 0.4 + 2 * step]
    )
    np.testing.assert_allclose(get_frame_times(times, np.array([0, 3]), start_index=0), [0, 0.4])


def test_numbers_of_another_video_are_rejected():
    times = np.arange(100) / 25
    with pytest.raises(ValueError, match='frame numbers up to 130, expected at most 100'):
        get_frame_times(times, np.array([1, 130]))
    with pytest.raises(ValueError, match='frame numbers up to 500'):
        get_frame_times(np.array([0.0]), np.array([500]))  # a video of one frame
    with pytest.raises(ValueError, match='frame number 0, expected numbers from 1; set --start'):
        get_frame_times(times, np.array([0]))
