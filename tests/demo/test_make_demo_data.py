"""Test the demo data: layout, counts, determinism, what the faces show, refused folders."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abaw_mm.datasets.annotations import HEADER, LIST_HEADER, read_annotation_folder
from abaw_mm.errors import InvalidValueError

DEMO = Path(__file__).parents[2] / 'demo'
sys.path.insert(0, str(DEMO))

import face  # noqa: E402
import film  # noqa: E402
import make_demo_data  # noqa: E402

SMALL = ('--train-clips', 5, '--val-clips', 2, '--test-clips', 2, '--frames', 64, '--size', 32)
TINY = ('--train-clips', 1, '--val-clips', 1, '--test-clips', 0, '--frames', 40, '--size', 32)


def draw(*args):
    """Draw a data set in this process."""
    return make_demo_data.main([*map(str, args), '--workers', '1'])


def digest(root):
    """Hash the names and bytes of all files."""
    files = sorted(path for path in root.rglob('*') if path.is_file())
    text = [f'{f.relative_to(root)} {hashlib.sha256(f.read_bytes()).hexdigest()}' for f in files]
    return hashlib.sha256('\n'.join(text).encode()).hexdigest()


def read(root, split):
    """Read labels and frame numbers of each clip of a split, independently of the package."""
    clips = {}
    for path in (root / 'annotations/EXPR_Recognition_Challenge' / split).iterdir():
        header, *lines = path.read_text().splitlines()
        assert header == HEADER
        frames = {int(f.stem) for f in (root / 'cropped_aligned' / path.stem).iterdir()}
        clips[path.stem] = np.array(lines, int), frames
    return clips


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """Draw a data set by the command that users type."""
    root = tmp_path_factory.mktemp('demo') / 'deep' / 'demo'
    command = [sys.executable, DEMO / 'make_demo_data.py', root, *SMALL, '--workers', 2]
    subprocess.run([str(word) for word in command], check=True, timeout=120)
    return root


@pytest.mark.parametrize(('key', 'split'), [('train', 'Train_Set'), ('val', 'Validation_Set')])
def test_facts_count_the_files(demo, key, split):
    clips = read(demo, split)
    labels = np.concatenate([labels for labels, _ in clips.values()])
    seen = np.array(
        [
            label
            for labels, frames in clips.values()
            for i, label in enumerate(labels, start=1)
            if i in frames
        ]
    )
    assert json.loads((demo / 'facts.json').read_text())[key] == dict(
        clips=len(clips),
        lines=len(labels),
        frames=len(seen),
        labelled=int((labels >= 0).sum()),
        labelled_with_frame=int((seen >= 0).sum()),
        per_class=[int((seen == label).sum()) for label in range(8)],
    )


def test_layout_is_official(demo):
    header, *rows = (demo / 'test_set_format.txt').read_text().splitlines()
    assert header == LIST_HEADER and all(row.endswith('.jpg,') for row in rows)
    listed = [row[:-1].rsplit('/', 1) for row in rows]
    test = {clip for clip, _ in listed}
    train, val = read(demo, 'Train_Set'), read(demo, 'Validation_Set')
    folders = {path.name for path in (demo / 'cropped_aligned').iterdir()}
    assert len(folders) == 9 and {*train, *val, *test} == folders
    for part in (' ', '-', '_left', '_right'):
        assert any(part in name for name in folders)
    annotations = demo / 'annotations/EXPR_Recognition_Challenge/Train_Set'
    for clip, labels in read_annotation_folder(annotations).items():
        np.testing.assert_array_equal(labels, train[clip][0])

    files = {path for clip in test for path in (demo / 'cropped_aligned' / clip).iterdir()}
    facts = json.loads((demo / 'facts.json').read_text())
    assert facts['test'] == dict(clips=2, lines=len(rows), frames=len(files))
    assert len(files) < len(rows)  # frames without a crop are listed, too
    for clip in test:
        numbers = [name for other, name in listed if other == clip]
        assert numbers == [f'{i:05d}.jpg' for i in range(1, len(numbers) + 1)]
    assert Image.open(min(files)).size == (32, 32)


def test_some_frames_are_missing_or_unlabelled(demo):
    clips = [*read(demo, 'Train_Set').values(), *read(demo, 'Validation_Set').values()]
    lines = sum(len(labels) for labels, _ in clips)
    missing = sum(len(labels) - len(frames) for labels, frames in clips)
    unlabelled = sum((labels == -1).sum() for labels, _ in clips)
    assert all(frames < set(range(1, len(labels) + 1)) for labels, frames in clips)
    assert 0 < missing / lines < 0.06
    assert 0.1 < unlabelled / lines < 0.35
    assert all(len(np.unique(labels[labels >= 0])) >= 3 for labels, _ in clips)


def test_neighbouring_frames_are_similar(demo):
    clips = {
        folder.name: {
            int(path.stem): np.asarray(Image.open(path), float) for path in folder.iterdir()
        }
        for folder in sorted((demo / 'cropped_aligned').iterdir())
    }
    near = [
        np.abs(frame - frames[number - 1]).mean()
        for frames in clips.values()
        for number, frame in frames.items()
        if number - 1 in frames
    ]
    first = [frames[min(frames)] for frames in clips.values()]
    far = [np.abs(a - b).mean() for a, b in zip(first, first[1:], strict=False)]
    assert np.mean(near) < 0.3 * np.mean(far)
    for labels, _ in read(demo, 'Train_Set').values():  # 7 of 8 for independent labels
        assert np.count_nonzero(np.diff(labels)) / len(labels) < 0.35


def test_bytes_depend_on_seed_and_not_on_workers(demo, tmp_path):
    draw(tmp_path / 'again', *SMALL)
    assert digest(tmp_path / 'again') == digest(demo)
    draw(tmp_path / 'other', *SMALL, '--seed', 1)
    for name in ('annotations', 'cropped_aligned/demo clip 1'):
        assert digest(tmp_path / 'other' / name) != digest(demo / name)


def test_plan_deals_each_class_evenly_to_several_clips():
    clips = make_demo_data.plan_clips(make_demo_data.Settings(0, 24, 8, 3, 120, 112))
    for split in ('train', 'val'):
        counts = np.array(
            [np.bincount(clip.segments, minlength=8) for clip in clips if clip.split == split]
        )
        assert ((counts > 0).sum(0) >= 4).all()
        assert (np.ptp(counts, axis=0) <= 1).all()
    assert len({clip.name for clip in clips}) == len(clips) == 35


def test_poses_of_different_expressions_look_different():
    rng = np.random.default_rng(0)
    identity, background = face.Identity.draw(rng), face.draw_background(336, rng)
    view = next(film.simulate_views(40, rng))
    pictures = [
        (
            name,
            np.asarray(
                face.draw_face(identity, face.encode_actions(**pose), view, background).resize(
                    (112, 112)
                ),
                float,
            ),
        )
        for name, poses in film.POSES.items()
        for pose in poses
    ]
    for i, (name, picture) in enumerate(pictures):
        for other, reference in pictures[:i]:
            changed = (np.abs(picture - reference).max(2) > 15).sum()
            assert changed > 60 or name == other, (name, other, changed)


def test_labels_match_the_actions():
    clip = film.Clip('c', 'train', 0, (1, 4, 0, 6))
    rng = np.random.default_rng(3)
    action, labels = film.simulate_actions(clip, face.Identity.draw(rng), 200, rng)
    for label, name in ((1, 'brow_lower'), (4, 'lip_pull'), (6, 'outer_brow')):
        column = action[:, face.ACTIONS.index(name)]
        others = (labels >= 0) & (labels != label)
        assert column[labels == label].min() > column[others].max() - 0.15
    assert set(labels) == {-1, 0, 1, 4, 6}


def test_unknown_action_is_refused():
    with pytest.raises(ValueError, match='brow_wink'):
        face.encode_actions(brow_wink=1)


def test_complete_set_is_kept_and_other_settings_are_refused(demo, capsys):
    before = digest(demo)
    assert draw(demo, *SMALL) == 0
    assert 'nothing to do' in capsys.readouterr().out
    with pytest.raises(InvalidValueError, match='name another OUT_DIR'):
        draw(demo, *SMALL, '--seed', 1)
    assert digest(demo) == before


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / 'notes.txt').write_text('years of work')
    with pytest.raises(InvalidValueError, match='got other files'):
        draw(tmp_path, *TINY)
    assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']


@pytest.mark.parametrize('existing', [False, True])
def test_failed_run_leaves_nothing_behind(tmp_path, monkeypatch, existing):
    monkeypatch.setattr(make_demo_data, 'summarise', lambda *args: 1 / 0)  # all frames are written
    if existing:
        (tmp_path / 'demo').mkdir()
    with pytest.raises(ZeroDivisionError):
        draw(tmp_path / 'demo', *TINY)
    assert [path.name for path in tmp_path.rglob('*')] == ['demo'] * existing


@pytest.mark.parametrize(
    ('flag', 'value'),
    [
        ('--train-clips', '0'),
        ('--frames', '3'),
        ('--size', '8'),
        ('--seed', '-1'),
        ('--workers', '0'),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, capsys, flag, value):
    with pytest.raises(SystemExit, match='2'):
        make_demo_data.main([str(tmp_path / 'demo'), flag, value])
    assert f'{flag}: got {value}, expected' in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
