"""Test crops of videos in the layout of Aff-Wild2."""

import numpy as np
import pytest
import simplejpeg

from abaw_mm.datasets.crops.crop_folder import CropFolder, list_crops
from abaw_mm.errors import FileAccessError, InvalidValueError
from abaw_mm.video.crop_writer import CropWriter


def make_crop(value):
    y, x = np.mgrid[:112, :112]
    return np.uint8(np.stack([x + value, y + value, x // 2 + y // 2], axis=2))


def write(root, names, frames=((0, 0), (0, 1), (1, 1), (0, 2))):
    with CropWriter(root, 'talk') as crops:
        for face_id, index in frames:
            crops.write(face_id, index, make_crop(10 * face_id + index))
        crops.finish(names)


def list_files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob('*') if path.is_file())


def test_numbers_are_those_of_frames_plus_one(tmp_path):
    root = tmp_path / 'out/cropped_aligned'
    write(root, {0: 'talk_left', 1: 'talk_right'}, [(0, 0), (1, 0), (0, 99_999)])
    assert list_files(root) == [
        'talk_left/00001.jpg',
        'talk_left/100000.jpg',
        'talk_right/00001.jpg',
    ]


def test_crops_are_read_by_the_data_set(tmp_path):
    write(tmp_path, {0: 'talk_left', 1: 'talk_right'})
    folder = CropFolder(tmp_path)
    table = list_crops([folder], folder.clips())
    assert table.name_frames() == ['talk_left/1', 'talk_left/2', 'talk_left/3', 'talk_right/2']
    data = (tmp_path / 'talk_right/00002.jpg').read_bytes()
    assert simplejpeg.decode_jpeg_header(data) == (112, 112, 'YCbCr', '444')
    error = np.abs(simplejpeg.decode_jpeg(data) - np.float32(make_crop(11)))
    assert error.mean() < 1


def test_faces_of_one_person_become_one_clip_and_nameless_ones_are_dropped(tmp_path):
    frames = [(0, 0), (1, 1), (2, 2), (3, 0)]
    write(tmp_path, {0: 'talk', 2: 'talk', 1: 'talk_3', 7: 'absent'}, frames)
    assert list_files(tmp_path) == ['talk/00001.jpg', 'talk/00003.jpg', 'talk_3/00002.jpg']


def test_clip_of_an_earlier_run_is_replaced_and_others_stay(tmp_path):
    write(tmp_path, {0: 'talk', 1: 'other'})
    write(tmp_path, {0: 'talk'}, [(0, 7)])
    assert list_files(tmp_path) == ['other/00002.jpg', 'talk/00008.jpg']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['other', 'talk']


def test_nothing_is_left_after_an_error_or_of_a_killed_process(tmp_path):
    with pytest.raises(KeyboardInterrupt), CropWriter(tmp_path, 'talk') as crops:
        crops.write(0, 0, make_crop(0))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    CropWriter(tmp_path, 'talk').write(5, 0, make_crop(0))  # the process ends here
    write(tmp_path, {0: 'talk', 5: 'ghost'})
    assert {path.name for path in tmp_path.iterdir()} == {'talk'}


def test_names_that_leave_the_folder_are_refused(tmp_path):
    with pytest.raises(InvalidValueError, match='expected the name of one folder'):
        write(tmp_path / 'crops', {0: '../talk'})
    assert list_files(tmp_path) == []


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'crops').write_text('')
    with pytest.raises(FileAccessError, match='crops cannot be written'):
        write(tmp_path / 'crops', {0: 'talk'})
