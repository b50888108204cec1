"""Tests of counts, findings and verdict against figures written out by hand."""

import json

import numpy as np
import pytest

from abaw_mm.datasets.annotations import number_lines
from abaw_mm.datasets.verify.findings import KINDS, LEVELS, Finding
from abaw_mm.datasets.verify.judge import (
    HEADLINE_CONFIG,
    check_clip,
    find_shared_videos,
    give_verdict,
    judge,
    judge_clip,
    judge_split,
    make_report,
    sum_clips,
)
from abaw_mm.datasets.verify.read_download import Split


def report_of(lines=10, crops=None, labels=None, **fields):
    """Return the report of a clip with all crops and the labels 0 to 7, apart from changes."""
    numbers = np.arange(1, lines + 1)
    labels = numbers % 8 if labels is None else np.array(labels)
    crops = numbers if crops is None else np.array(crops)
    report = check_clip('train', 'a', numbers, number_lines(1, label={'a': labels}), crops)
    for name, value in fields.items():
        setattr(report, name, value)
    return report


def kinds(findings):
    return sorted(f.kind for f in findings)


def test_counts_of_a_clip():
    labels = np.array([0, 1, -1, 1, 7, 2, 2, -1], np.int8)
    # lines 1, 4, 5 and 8 have no crop; crop 10 has no line
    table = number_lines(1, label={'a': labels})
    r = check_clip('val', 'a', np.arange(1, 9), table, np.array([2, 3, 6, 7, 10]))
    assert (r.lines, r.unlabelled, r.crops, r.missing, r.beyond) == (8, 2, 5, 4, 1)
    assert (r.gaps, r.longest_gap, r.first, r.last) == (3, 2, 2, 10)
    assert r.per_class == [0, 1, 2, 0, 0, 0, 0, 0]


def test_counts_of_a_clip_without_crops_or_labels():
    r = check_clip('test', 'a', np.array([2, 5]), None, np.array([], np.int32))
    assert (r.lines, r.missing, r.gaps, r.longest_gap) == (2, 2, 1, 2)
    assert r.unlabelled is r.per_class is r.first is r.last is None


@pytest.mark.parametrize(
    ('report', 'expected'),
    [
        (report_of(), []),
        (report_of(crops=[1, 2, 3, 4, 5, 6, 10]), []),  # 30 % is not more than 30 %
        (report_of(crops=[1, 2, 3, 4, 5, 6]), ['missing']),
        (report_of(crops=[]), ['no_clip_crops']),
        (report_of(crops=range(10)), ['start_index']),
        (report_of(crops=range(1, 12)), ['beyond']),
        (report_of(broken={'a/00001.jpg': 'empty file'}), ['broken_crop']),
        (report_of(sizes={'112x112': 10}), []),
        (report_of(sizes={'112x112': 9, '96x96': 1}), ['size']),
        (report_of(sizes={'96x96': 10}), ['size']),
    ],
)
def test_findings_of_a_clip(report, expected):
    assert kinds(judge_clip(report, usual_size='112x112')) == expected


def test_crops_beyond_a_list_are_a_warning():
    (finding,) = judge_clip(report_of(crops=range(1, 12)), hidden=True)
    assert (finding.kind, finding.level) == ('beyond_list', 'warning')


def test_names_the_first_broken_crops():
    broken = {f'a/{number:05d}.jpg': 'empty file' for number in range(1, 6)}
    (finding,) = judge_clip(report_of(broken=broken))
    assert finding.text.startswith('5 of 10 broken: a/00001.jpg: empty file; a/00002.jpg')
    assert finding.text.endswith('a/00003.jpg: empty file and 2 more')


@pytest.mark.parametrize(
    ('reports', 'expected'),
    [
        ([report_of(100, crops=range(1, 95))], ['gaps', 'unlabelled']),  # 6 % is not more than 6 %
        ([report_of(100, crops=range(1, 94))], ['missing', 'unlabelled']),
        ([report_of(100), report_of(7, crops=[])], ['missing', 'unlabelled']),
        ([report_of(crops=[])], ['no_crops', 'unlabelled']),
        ([report_of(8, labels=[-1] * 8)], ['gaps', 'no_labels', 'unlabelled']),
        ([report_of(8, labels=[0] * 8)], ['absent_class', 'gaps', 'unlabelled']),
        ([], []),
    ],
)
def test_findings_of_a_split(reports, expected):
    assert kinds(judge_split(sum_clips(Split('train', 'folder'), reports))) == expected


def test_totals_are_sums():
    reports = [report_of(10), report_of(8, crops=[1, 2, 4], labels=[-1, 3, 3, 3, 3, 3, 3, 3])]
    total = sum_clips(Split('train', 'folder'), reports)
    assert total == dict(
        split='train',
        path='folder',
        hidden=False,
        clips=2,
        lines=18,
        crops=13,
        missing=5,
        gaps=2,
        unlabelled=1,
        labelled_with_crop=12,
        per_class=[1, 2, 2, 3, 1, 1, 1, 1],
    )


def test_finds_raw_videos_in_two_splits():
    splits = [
        Split('train', '', dict.fromkeys(['video1_left', '2_right', 'left_3', '5_left_2'])),
        Split('val', '', dict.fromkeys(['video1', '3', 'video1_right', '5_2'])),
        Split('test', '', dict.fromkeys(['2'])),
    ]
    first, second = find_shared_videos(splits)
    assert "'2' is in train ('2_right') and in test ('2')" in first.text
    assert "'video1' is in train ('video1_left') and in val ('video1', 'video1_right')" in (
        second.text
    )


def test_strays_are_a_warning_only_if_a_clip_lacks_its_crops():
    split = Split('train', '', {'a': None})
    assert 'stray' in kinds(judge([split], [report_of()], {'A': 3}, ['crops']))
    lacking = judge([split], [report_of(crops=[])], {'A': 3}, ['crops'])
    assert 'stray_unmatched' in kinds(lacking)
    # every clip lacks its crops: one finding instead of one per clip
    assert 'no_crops' in kinds(lacking) and 'no_clip_crops' not in kinds(lacking)


def test_size_is_compared_with_the_most_common_one():
    split = Split('train', '', {'a': None})
    reports = [report_of(sizes={'224x224': 10}), report_of(sizes={'224x224': 7, '112x112': 3})]
    texts = {f.kind: f.text for f in judge([split], reports, {}, ['crops'])}
    assert texts['size'] == 'crops of another size, 3 of 112x112, expected 224x224 like most crops'
    assert texts['sizes'].startswith('crops by size: 17 of 224x224, 3 of 112x112')


def test_findings_are_sorted_by_level():
    split = Split('train', '', {'a': None})
    found = judge(
        [split],
        [report_of(crops=[0, 1])],
        {'b': 1},
        ['x', 'y'],
        [Finding('no_split', ''), Finding('annotation', '')],
    )
    levels = [f.level for f in found]
    assert levels == sorted(levels, key=LEVELS.index) and set(levels) == set(LEVELS)


def test_kinds_have_a_level_and_a_fix():
    assert all(level in LEVELS and fix for level, fix in KINDS.values())


def test_verdict_says_what_to_do():
    train = (
        'train with python tools/train.py configs/res50_srp_affwild2.py, which reads '
        'data/affwild2: link the data there, or set data_root of all datasets'
    )
    notes = [Finding('gaps', '')]
    assert give_verdict(notes, decoded=True) == f'Healthy: {train}.'
    assert give_verdict(notes, decoded=False) == (
        f'Healthy: {train} (pixels were not read, --decode does).'
    )
    warned = [Finding('both_sides', ''), Finding('both_sides', ''), *notes]
    assert give_verdict(warned, True) == (
        f'Usable with 2 warnings: group folds by the name without _left or _right; then {train}.'
    )
    failed = [Finding('broken_crop', '', 'train', 'a'), *warned]
    assert give_verdict(failed, True) == (
        "1 error: unpack these crops again, or download them, for 1 clip ('a'); then run this "
        'again.'
    )


@pytest.mark.parametrize('kind', KINDS)
def test_only_errors_set_the_exit_status(kind):
    report = make_report('root', [], [], {}, [], [Finding(kind, 'text', 'train', 'a')], False)
    assert report['status'] == (1 if KINDS[kind][0] == 'error' else 0)
    assert json.loads(json.dumps(report)) == report


def test_headline_config_exists(repo):
    assert (repo / HEADLINE_CONFIG).is_file()
