"""tools/misc/verify_affwild2.py: every kind of problem is found."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from abaw_mm.datasets import AffWild2Dataset

REPO = Path(__file__).parents[2]
TOOL = 'misc/verify_affwild2.py'
MAX_ROWS = 20  # as in the tool
ANNOTATIONS = 'annotations/EXPR_Recognition_Challenge'
OTHER_TRACK = 'valence,arousal'


@pytest.fixture
def run(run_tool):
    return lambda *args: run_tool(TOOL, *args)


@pytest.fixture
def report(run, tmp_path):
    """Run the command; return its JSON report, which must agree with status and verdict."""

    def report(*args):
        status, out, _ = run(*args, '--json', tmp_path / 'report.json')
        found = json.loads((tmp_path / 'report.json').read_text())
        assert status == found['status']
        assert out.splitlines()[-1] == found['verdict']
        return found

    return report


@pytest.fixture
def healthy(tmp_path, make_clip):
    """A dataset without errors and warnings."""
    root = tmp_path / 'affwild2'
    make_clip(root, 'Train_Set', '1-30-1280x720', [0, 1, 2, 3, 4, 5, 6, 7, -1] * 4, missing=(3,))
    make_clip(root, 'Train_Set', 'face clip 3', [0] * 20)
    make_clip(root, 'Validation_Set', 'video11_right', [7, 6, 5, 4, 3, 2, 1, 0, -1] * 2)
    return root


def kinds(found, level=None):
    return sorted({f['kind'] for f in found['findings'] if level in (None, f['level'])})


def cells(out, title):
    """Return the rows of a printed table as dicts."""
    lines = out[out.index(title) :].splitlines()[1:]
    start = next(i for i, line in enumerate(lines) if line.startswith('|'))
    rows = []
    for line in lines[start:]:
        if not line.startswith('|'):
            break
        rows.append([cell.strip() for cell in line.strip('|').split('|')])
    header, _, *rows = rows
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_healthy_dataset_has_only_notes(healthy, report):
    found = report(healthy, '--decode', '--workers', 2)
    assert found['verdict'].startswith('Healthy: train with') and found['status'] == 0
    assert kinds(found) == ['gaps', 'sizes', 'unlabelled']
    assert [c['sizes'] for c in found['clips']] == [{'16x16': n} for n in (35, 20, 18)]


def test_counts_of_real_faces(affwild2_mini, report):
    facts = json.loads((affwild2_mini / 'facts.json').read_text())
    found = report(affwild2_mini, '--frames', 'test_set_format.txt', '--decode', '--workers', 2)
    assert found['status'] == 0 and kinds(found, 'error') == kinds(found, 'warning') == []
    assert [total['split'] for total in found['splits']] == list(facts)
    for total in found['splits']:
        fact = facts[total['split']]
        assert (total['clips'], total['lines'], total['crops']) == (
            fact['clips'],
            fact['lines'],
            fact['frames'],
        )
        assert total['missing'] == fact['lines'] - fact['frames']
        if total['split'] != 'test':
            assert total['lines'] - total['unlabelled'] == fact['labelled']
            assert total['labelled_with_crop'] == fact['labelled_with_frame']
            assert total['per_class'] == fact['per_class']
    decoded = sum(clip['sizes'].get('112x112', 0) for clip in found['clips'])
    assert decoded == sum(fact['frames'] for fact in facts.values())


def test_tables_agree_with_json(tiny, run, tmp_path):
    status, out, _ = run(tiny, '--per-clip', '--json', tmp_path / 'report.json')
    found = json.loads((tmp_path / 'report.json').read_text())
    totals = cells(out, 'Lines against crops')
    assert totals == [{key: str(total[key]) for key in totals[0]} for total in found['splits']]
    for row, total in zip(cells(out, 'Frames with label'), found['splits'], strict=True):
        assert [row[name] for name in found['classes']] == list(map(str, total['per_class']))
    clips = {clip['clip']: clip for clip in found['clips']}
    rows = cells(out, 'Clips')
    assert {row['clip'] for row in rows} == set(clips)
    for row in rows:
        printed = row.pop('findings')
        assert row == {key: str(clips[row['clip']][key]) for key in row}
        own = [f['kind'] for f in found['findings'] if f['clip'] == row['clip']]
        assert printed == ', '.join(own)
    for finding in found['findings']:
        assert re.search(f'^{finding["level"]}: .*{re.escape(finding["text"])}$', out, re.M)


def test_decoding_finds_truncated_and_empty_files(healthy, report):
    clip = healthy / 'cropped_aligned/face clip 3'
    (clip / '00004.jpg').write_bytes((clip / '00004.jpg').read_bytes()[:-50])
    (clip / '00007.jpg').write_bytes(b'')
    assert report(healthy)['status'] == 0  # crops are not read
    found = report(healthy, '--decode', '--workers', 1)
    assert kinds(found, 'error') == ['broken_crop']
    (bad,) = [c['broken'] for c in found['clips'] if c['broken']]
    assert list(bad) == [str(clip / '00004.jpg'), str(clip / '00007.jpg')]
    assert 'Premature end' in bad[str(clip / '00004.jpg')]
    assert "for 1 clip ('face clip 3')" in found['verdict']


def test_every_broken_annotation_is_printed(healthy, make_clip, run):
    make_clip(healthy, 'Train_Set', 'bad [1]', [0], header=OTHER_TRACK)
    for number in range(MAX_ROWS + 5):
        make_clip(healthy, 'Validation_Set', f'bad{number}', [0, 9])
    status, out, _ = run(healthy)
    assert status == 1
    assert f"bad [1].txt, line 1: got the header '{OTHER_TRACK}'" in out
    assert all(f'bad{n}.txt, line 3: got the label 9' in out for n in range(MAX_ROWS + 5))
    assert 'folders of crops of no clip' not in out  # their crops are not strays


def test_crops_counted_from_0_are_an_error(healthy, make_clip, report):
    make_clip(healthy, 'Train_Set', 'shifted', [0] * 5, start=0)
    assert kinds(report(healthy), 'error') == ['start_index']


def test_crops_beyond_the_last_line_are_an_error(healthy, report):
    clip = healthy / 'cropped_aligned/face clip 3'
    (clip / '00020.jpg').rename(clip / '00021.jpg')
    assert kinds(report(healthy), 'error') == ['beyond']


def test_clips_without_crops_are_a_warning(healthy, report):
    crops = healthy / 'cropped_aligned'
    (crops / 'face clip 3').rename(crops / 'face_clip_3')
    found = report(healthy)
    assert {'no_clip_crops', 'stray_unmatched'} <= set(kinds(found, 'warning'))
    assert found['status'] == 0 and found['strays'] == {'face_clip_3': 20}


OTHER_NAMES = {
    '{:05d}.JPG': 'video11_right/00001.JPG',
    '{:05d}.jpeg': 'video11_right/00001.jpeg',
    '{:d}.jpg': 'video11_right/1.jpg',
    'frame_{:05d}.jpg': 'video11_right/frame_00001.jpg',
}


def rename_crops(folder, template):
    for path in folder.rglob('*.jpg'):
        path.rename(path.with_name(template.format(int(path.stem))))


@pytest.mark.parametrize('template', OTHER_NAMES)
def test_other_names_of_crops_are_named_with_the_option_that_fits(healthy, report, template):
    rename_crops(healthy / 'cropped_aligned', template)
    found = report(healthy)
    assert kinds(found, 'error') == ['names']
    (text,) = [f['text'] for f in found['findings'] if f['split'] == 'val' and f['kind'] == 'names']
    assert f'{OTHER_NAMES[template]}: --filename-tmpl {template!r} here, ' in text
    assert f'filename_tmpl={template!r} of the datasets' in text
    assert '--filename-tmpl' in found['verdict'] and 'unpack' not in found['verdict']
    assert report(healthy, '--filename-tmpl', template)['status'] == 0
    # A dataset names the same value.
    cfg = dict(data_root=str(healthy), ann_file=f'{ANNOTATIONS}/Validation_Set')
    with pytest.raises(FileNotFoundError) as error:
        len(AffWild2Dataset(**cfg))
    assert str(error.value).endswith(f'; set filename_tmpl={template!r} of all datasets')
    dataset = AffWild2Dataset(**cfg, filename_tmpl=template)
    assert len(dataset) == 16 and dataset[0]['img_path'].endswith(OTHER_NAMES[template])


def test_crops_of_one_clip_with_other_names(healthy, report):
    rename_crops(healthy / 'cropped_aligned/face clip 3', '{:05d}.JPG')
    found = report(healthy)
    assert kinds(found, 'error') == ['other_names'] and 'rename' in found['verdict']
    (text,) = [f['text'] for f in found['findings'] if f['kind'] == 'other_names']
    assert text == 'crops are named such as 00001.JPG, expected 00001.jpg'


def test_list_of_frames_keeps_its_names_if_the_crops_have_others(tiny, report):
    rename_crops(tiny / 'cropped_aligned', '{:05d}.JPG')
    found = report(tiny, '--frames', 'test_set_format.txt', '--filename-tmpl', '{:05d}.JPG')
    assert found['splits'][-1]['crops'] == 3
    cfg = dict(data_root=str(tiny), ann_file='test_set_format.txt', filename_tmpl='{:05d}.JPG')
    assert AffWild2Dataset(**cfg).get_data_info(0)['img_path'].endswith('video65/00001.JPG')


def test_missing_crops_are_an_error(healthy, report):
    (healthy / 'cropped_aligned').rename(healthy / 'faces')
    found = report(healthy, '--decode')
    assert kinds(found, 'error') == ['no_crops'] and found['crops'] == []
    assert '--crops' in found['verdict']
    assert report(healthy, '--crops', 'faces')['status'] == 0


def test_raw_video_in_both_splits_is_a_warning(healthy, make_clip, report):
    make_clip(healthy, 'Train_Set', 'video11', [0])
    found = report(healthy)
    assert kinds(found, 'warning') == ['both_sides'] and found['status'] == 0
    assert found['verdict'].startswith('Usable with 1 warning: group folds')


def test_crops_of_two_sizes_are_a_warning(healthy, make_clip, report):
    make_clip(healthy, 'Train_Set', 'large', [0] * 5, size=24)
    assert kinds(report(healthy, '--decode', '--workers', 1), 'warning') == ['size']


def test_single_split_is_a_warning(healthy, report):
    (healthy / ANNOTATIONS / 'Validation_Set').rename(healthy / 'elsewhere')
    assert 'no_split' in kinds(report(healthy), 'warning')
    both = ('--ann-dir', f'{ANNOTATIONS}/Train_Set', healthy / 'elsewhere')
    found = report(healthy, *both)
    assert 'no_split' not in kinds(found)
    assert [total['split'] for total in found['splits']] == ['train', 'elsewhere']


def test_crops_in_several_folders(healthy, report):
    (healthy / 'batch2').mkdir()
    (healthy / 'cropped_aligned/face clip 3').rename(healthy / 'batch2/face clip 3')
    assert 'no_clip_crops' in kinds(report(healthy))
    found = report(healthy, '--crops', 'cropped_aligned', 'batch2')
    assert kinds(found, 'warning') == [] and 'roots' in kinds(found, 'note')
    (healthy / 'batch2').rename(healthy / 'cropped_aligned_new_50_vids')
    assert kinds(report(healthy)) == kinds(found)


def test_list_of_frames_is_checked(tiny, report):
    assert report(tiny)['strays'] == {'video65': 3}
    found = report(tiny, '--frames', 'test_set_format.txt')
    test = found['splits'][-1]
    assert (test['split'], test['lines'], test['crops'], test['missing']) == ('test', 4, 3, 1)
    assert test['per_class'] is None and found['strays'] == {}
    (tiny / 'test_set_format.txt').write_text('nothing')
    assert 'annotation' in kinds(report(tiny, '--frames', 'test_set_format.txt'), 'error')


def test_long_lists_are_shortened(healthy, make_clip, run):
    for number in range(MAX_ROWS + 3):
        make_clip(healthy, 'Train_Set', f'gone {number}', [0, 0], missing=(1, 2))
    _, out, _ = run(healthy)
    assert len(cells(out, 'Clips')) == MAX_ROWS
    assert out.count('no crop for 2 lines') == MAX_ROWS
    assert '... and 3 more clips' in out and '... and 3 more findings' in out
    _, out, _ = run(healthy, '--per-clip')
    assert out.count('no crop for 2 lines') == MAX_ROWS + 3 and '... and' not in out


def test_json_on_standard_output(healthy):
    """Only JSON on standard output; plain text on standard error."""
    result = subprocess.run(
        [sys.executable, REPO / 'tools' / TOOL, healthy, '--decode', '--json', '-'],
        text=True,
        capture_output=True,
        timeout=120,
        env={**os.environ, 'PYTHONPATH': str(REPO)},
    )
    found = json.loads(result.stdout)
    assert result.returncode == found['status'] == 0 and found['decoded']
    assert result.stderr.splitlines()[-1] == found['verdict']
    assert '\x1b' not in result.stderr


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['gone'], 'gone: no such folder'),
        (['empty'], 'got no folder of EXPR annotations'),
        (['affwild2', '--crops', 'gone'], 'gone: no such file or folder'),
        (['affwild2', '--frames', 'gone.txt'], 'gone.txt: no such file or folder'),
        (
            ['affwild2', '--ann-dir', f'{ANNOTATIONS}/Train_Set', f'{ANNOTATIONS}/Train_Set'],
            'two folders of one split',
        ),
        (['affwild2', '--crops', f'{ANNOTATIONS}/Train_Set/face clip 3.txt'], 'expected a folder'),
        (['affwild2', '--filename-tmpl', '1.jpg'], 'filename_tmpl'),
        (['affwild2', '--json', 'empty'], 'empty'),
    ],
)
def test_user_errors(healthy, run, monkeypatch, args, message):
    monkeypatch.chdir(healthy.parent)
    Path('empty').mkdir()
    status, _, error = run(*args)
    assert status == 1 and message in error.splitlines()[0]


def test_invalid_number_of_workers(healthy, run):
    status, _, error = run(healthy, '--workers', 0)
    assert status == 2 and '--workers: got 0, expected 1 to 256' in error


def test_interruption_writes_no_report(healthy, run, monkeypatch, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('abaw_mm.datasets.verify.check_download._decode', interrupt)
    status, _, error = run(healthy, '--decode', '--json', tmp_path / 'report.json')
    assert status == 130 and 'interrupted' in error
    assert not (tmp_path / 'report.json').exists()


@pytest.mark.parametrize('task', ['va', 'au', 'mtl'])
def test_other_tracks_are_counted(report, tmp_path, task):
    units = 'AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26'
    first, second, hidden = '1' + ',0' * 11, '0,0,1' + ',0' * 9, ','.join(['-1'] * 12)
    folder, header, rows, counts = {
        'va': (
            'VA_Estimation_Challenge',
            'valence,arousal',
            ['.5,.5', '-.5,.5', '-5,-5', '.5,-.5'],
            [0, 1, 0, 1],
        ),
        'au': (
            'AU_Detection_Challenge',
            units,
            [first, second, hidden, first],
            [1, 0, 1] + [0] * 9,
        ),
        'mtl': (
            'MTL_Challenge',
            'image,...',
            [f'.5,.5,-1,{hidden}', f'-5,-5,3,{first}', f'-5,-5,-1,{hidden}', f'.5,.5,7,{second}'],
            [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0] + [1] + [0] * 11,
        ),
    }[task]
    edition = tmp_path / 'annotations' / folder
    for split, stem in dict(Train_Set='training', Validation_Set='validation').items():
        if task == 'mtl':
            lines = [f'{split}/{n:05d}.jpg,{row}' for n, row in enumerate(rows, 1)]
            path = edition / f'{stem}_set_annotations.txt'
        else:
            lines, path = rows, edition / split / f'{split}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join([header, *lines]) + '\n')
        crops = tmp_path / 'cropped_aligned' / split
        crops.mkdir(parents=True)
        for number in (1, 2, 3):  # the fourth line has no crop
            cv2.imwrite(str(crops / f'{number:05d}.jpg'), np.zeros((16, 16, 3), np.uint8))
    found = report(tmp_path, '--task', task)
    assert found['status'] == 0
    for total in found['splits']:
        assert (total['lines'], total['missing'], total['unlabelled']) == (4, 1, 1)
        assert total['labelled_with_crop'] == 2 and total['per_class'] == counts
