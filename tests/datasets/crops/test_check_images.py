"""Tests of decoding crops in processes: broken and whole files, and leaving early."""

import io
import multiprocessing
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from abaw_mm.datasets.crops.check_images import (
    CHUNK,
    start_decoding,
)
from abaw_mm.datasets.crops.crop_folder import (
    CropFolder,
    list_crops,
)


def picture(kind='JPEG', size=(20, 10)):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def crops(tmp_path):
    """Return two roots and the crops of two clips, more than one task decodes."""
    for name, numbers in (('old/a', range(1, 2 * CHUNK)), ('new/b', (1, 2, 3))):
        (tmp_path / name).mkdir(parents=True)
        for number in numbers:
            (tmp_path / name / f'{number:05d}.jpg').write_bytes(picture())
    (tmp_path / 'new/b/00002.jpg').write_bytes(b'')
    (tmp_path / 'new/b/00003.jpg').write_bytes(picture(size=(30, 10)))
    roots = [CropFolder(tmp_path / 'old'), CropFolder(tmp_path / 'new')]
    return roots, list_crops(roots, ['a', 'b'])


@pytest.mark.parametrize('workers', [1, 2])
def test_every_crop_is_decoded_once(crops, tmp_path, workers):
    total, bad = {'a': Counter(), 'b': Counter()}, {}
    with start_decoding(*crops, workers) as results:
        for clip, sizes, broken in (future.result() for future in results):
            total[clip] += sizes
            bad.update(broken)
    assert total == {'a': {'20x10': 2 * CHUNK - 1}, 'b': {'20x10': 1, '30x10': 1}}
    assert bad == {str(tmp_path / 'new/b/00002.jpg'): 'an empty file'}


def test_crop_removed_meanwhile_is_broken(crops, tmp_path):
    roots, found = crops
    (tmp_path / 'new/b/00001.jpg').unlink()
    with start_decoding(roots, found.select_clips(['b']), 1) as results:
        (result,) = results
    assert 'No such file' in result.result()[2][str(tmp_path / 'new/b/00001.jpg')]


def test_leaving_early_ends_all_processes(crops):
    with pytest.raises(KeyboardInterrupt):
        with start_decoding(*crops, 2) as results:
            next(results)
            raise KeyboardInterrupt
    assert multiprocessing.active_children() == []
