"""Tests of finding and reading the files of a download."""

import pytest

from abaw_mm.datasets.annotations import HEADER, LIST_HEADER
from abaw_mm.datasets.verify.read_download import (
    find_annotations,
    find_crops,
    read_annotations,
    read_list,
)


@pytest.mark.parametrize(
    ('edition', 'train'),
    [
        ('annotations/EXPR_Recognition_Challenge', 'Train_Set'),
        ('annotations/EXPR_Classification_Challenge', 'Train_Set'),
        ('annotations/EXPR_Set', 'Training_Set'),
        ('EXPR_Set', 'Train_Set'),
    ],
)
def test_finds_annotations_of_every_edition(tmp_path, edition, train):
    assert find_annotations(tmp_path) == {}
    for name in (train, 'Validation_Set'):
        (tmp_path / edition / name).mkdir(parents=True)
    expected = {'train': tmp_path / edition / train, 'val': tmp_path / edition / 'Validation_Set'}
    assert find_annotations(tmp_path) == expected
    assert find_annotations(tmp_path / edition) == expected


def test_prefers_the_latest_edition(tmp_path):
    for edition in ('EXPR_Set', 'EXPR_Recognition_Challenge'):
        (tmp_path / 'annotations' / edition / 'Train_Set').mkdir(parents=True)
    assert find_annotations(tmp_path) == {
        'train': tmp_path / 'annotations/EXPR_Recognition_Challenge/Train_Set'
    }


def test_finds_folders_of_crops(tmp_path):
    assert find_crops(tmp_path) == []
    names = ['cropped_aligned', 'batch1/cropped_aligned', 'batch2/cropped_aligned_new_50_vids']
    for name in names:
        (tmp_path / name).mkdir(parents=True)
    assert find_crops(tmp_path) == [tmp_path / name for name in names]


def test_each_invalid_annotation_is_a_finding(tmp_path):
    for clip, text in (
        ('a', f'{HEADER}\n0\n'),
        ('b', 'valence,arousal\n'),
        ('c', ''),
        ('d', f'{HEADER}\n0\n8\n'),
    ):
        (tmp_path / f'{clip}.txt').write_text(text)
    (tmp_path / 'e.txt').mkdir()
    split, findings = read_annotations('train', tmp_path)
    assert list(split.lines) == ['a']
    assert [f.clip for f in findings] == ['b', 'c', 'd', 'e']
    assert f'{tmp_path / "b.txt"}, line 1: got the header' in findings[0].text
    assert f'{tmp_path / "d.txt"}, line 3: got the label 8' in findings[2].text
    assert {f.level for f in findings} == {'error'}


def test_folder_without_annotations_is_an_error(tmp_path):
    split, (finding,) = read_annotations('train', tmp_path)
    assert not split.lines and finding.level == 'error'


def test_reads_list_of_frames(tmp_path):
    path = tmp_path / 'list.txt'
    rows = ['b/00002.jpg,', 'a/00001.jpg,', 'b/00001.jpg,']
    path.write_text('\n'.join([LIST_HEADER, *rows]))
    split, findings = read_list('test', path, '{:05d}.jpg')
    assert findings == [] and split.hidden
    assert {clip: numbers.tolist() for clip, (numbers, _) in split.lines.items()} == {
        'b': [1, 2],
        'a': [1],
    }
    path.write_text('\n'.join([LIST_HEADER, *rows, rows[0]]))
    split, (finding,) = read_list('test', path, '{:05d}.jpg')
    assert not split.lines and 'listed twice' in finding.text
