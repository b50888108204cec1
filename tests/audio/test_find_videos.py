import pytest

from abaw_mm.audio.find_videos import find_videos


@pytest.fixture
def folders(tmp_path):
    for name in (
        'a/video45.mp4',
        'a/1-30-1280x720.AVI',
        'a/102_left.mp4',
        'a/102.mp4',
        'b/video45.avi',
        'b/video45_5.mp4',
        'b/notes.txt',
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return [tmp_path / 'a', tmp_path / 'b']


def test_clips_find_their_videos(folders):
    a, b = folders
    clips = ['video45', 'video45_right', 'video45_5_left', '1-30-1280x720', '102_left', 'notes']
    assert find_videos(clips, folders) == {
        'video45': a / 'video45.mp4',  # of the first folder
        'video45_right': a / 'video45.mp4',
        'video45_5_left': b / 'video45_5.mp4',
        '1-30-1280x720': a / '1-30-1280x720.AVI',
        '102_left': a / '102_left.mp4',  # its own name first
    }


def test_wrong_folders_are_rejected(folders, tmp_path):
    a, _ = folders
    with pytest.raises(ValueError, match='VIDEOS: got 4 videos in .*, none of the 1 clips'):
        find_videos(['video7'], [a])
    (a / 'video45.avi').touch()
    with pytest.raises(ValueError, match='got video45.avi and video45.mp4, expected one video'):
        find_videos(['video45'], [a])
    with pytest.raises(FileNotFoundError, match='VIDEOS: got no folder .*gone'):
        find_videos(['video45'], [tmp_path / 'gone'])
