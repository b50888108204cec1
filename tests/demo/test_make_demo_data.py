"""demo/make_demo_data.py: the layout, the counts, the bytes, and what it refuses."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOL = Path(__file__).parents[2] / 'demo/make_demo_data.py'
HEADER = 'Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other'
SMALL = ('--train-clips', 5, '--val-clips', 2, '--test-clips', 2, '--frames', 64, '--size', 32)


def load_tool():
    spec = importlib.util.spec_from_file_location('make_demo_data', TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


tool = load_tool()


def run(*args):
    """The command as users type it."""
    command = [sys.executable, str(TOOL), *map(str, args)]
    return subprocess.run(command, text=True, capture_output=True, timeout=120)


def digest(root):
    """Hash of every file's name and bytes."""
    files = sorted(path for path in root.rglob('*') if path.is_file())
    text = [f'{f.relative_to(root)} {hashlib.sha256(f.read_bytes()).hexdigest()}' for f in files]
    return hashlib.sha256('\n'.join(text).encode()).hexdigest()


def read(root, split):
    """Labels and frame numbers of each clip of a split, read without the tool."""
    clips = {}
    for path in (root / 'annotations/EXPR_Recognition_Challenge' / split).iterdir():
        header, *lines = path.read_text().splitlines()
        assert header == HEADER
        frames = {int(f.stem) for f in (root / 'cropped_aligned' / path.stem).iterdir()}
        clips[path.stem] = np.array(lines, int), frames
    return clips


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp('demo') / 'deep' / 'demo'
    result = run(root, *SMALL, '--workers', 2)
    assert result.returncode == 0, result.stderr
    return root


@pytest.mark.parametrize(('key', 'split'), [('train', 'Train_Set'), ('val', 'Validation_Set')])
def test_counts_are_those_of_the_files(demo, key, split):
    clips = read(demo, split)
    seen = np.concatenate(
        [
            [label for i, label in enumerate(labels, start=1) if i in frames]
            for labels, frames in clips.values()
        ]
    )
    labels = np.concatenate([labels for labels, _ in clips.values()])
    assert json.loads((demo / 'facts.json').read_text())[key] == dict(
        clips=len(clips),
        lines=len(labels),
        frames=sum(len(f) for _, f in clips.values()),
        labelled=int((labels >= 0).sum()),
        labelled_with_frame=int((seen >= 0).sum()),
        per_class=[int((seen == label).sum()) for label in range(8)],
    )


def test_layout(demo):
    header, *rows = (demo / 'test_set_format.txt').read_text().splitlines()
    assert header == f'image_location,{HEADER}'
    assert all(row.endswith('.jpg,') for row in rows)
    asked = [row[:-1].rsplit('/', 1) for row in rows]
    test = {clip for clip, _ in asked}
    train, val = set(read(demo, 'Train_Set')), set(read(demo, 'Validation_Set'))
    folders = {path.name for path in (demo / 'cropped_aligned').iterdir()}
    assert len(train) + len(val) + len(test) == 9 and train | val | test == folders
    assert any(' ' in name for name in folders) and any('-' in name for name in folders)
    assert any(name.endswith('_left') for name in folders)
    assert any(name.endswith('_right') for name in folders)

    facts = json.loads((demo / 'facts.json').read_text())
    files = {path for clip in test for path in (demo / 'cropped_aligned' / clip).iterdir()}
    assert facts['test'] == dict(clips=2, lines=len(rows), frames=len(files))
    assert 'drawn' in facts['what']
    assert len(files) < len(rows)  # a label is asked for frames without a crop too
    for clip in test:
        numbers = [name for other, name in asked if other == clip]
        assert numbers == [f'{i:05d}.jpg' for i in range(1, len(numbers) + 1)]
    assert Image.open(min(files)).size == (32, 32)


def test_gaps_and_unlabelled_runs(demo):
    clips = [*read(demo, 'Train_Set').values(), *read(demo, 'Validation_Set').values()]
    lines = sum(len(labels) for labels, _ in clips)
    missing = sum(len(labels) - len(frames) for labels, frames in clips)
    unlabelled = sum((labels == -1).sum() for labels, _ in clips)
    assert all(frames < set(range(1, len(labels) + 1)) for labels, frames in clips)
    assert 0 < missing / lines < 0.06
    assert 0.1 < unlabelled / lines < 0.35
    assert all(len(np.unique(labels[labels >= 0])) >= 3 for labels, _ in clips)


def test_the_projects_own_reader_agrees(demo):
    annotations = pytest.importorskip('abaw_mm.datasets.annotations')
    assert annotations.EXPRESSIONS == tool.EXPRESSIONS
    folder = demo / 'annotations/EXPR_Recognition_Challenge/Train_Set'
    own = annotations.read_annotation_folder(folder)
    for clip, (labels, _) in read(demo, 'Train_Set').items():
        np.testing.assert_array_equal(own[clip], labels)


def test_neighbouring_frames_are_alike(demo):
    def load(path):
        return np.asarray(Image.open(path), float)

    folders = sorted((demo / 'cropped_aligned').iterdir())
    near, far = [], []
    for folder, other in zip(folders, folders[1:], strict=False):
        for number in range(2, 40):
            path, before = folder / f'{number:05d}.jpg', folder / f'{number - 1:05d}.jpg'
            if path.exists() and before.exists():
                near.append(np.abs(load(path) - load(before)).mean())
        far.append(
            np.abs(load(folder / '00030.jpg') - load(other / '00030.jpg')).mean()
            if (folder / '00030.jpg').exists() and (other / '00030.jpg').exists()
            else None
        )
    far = [value for value in far if value is not None]
    assert np.mean(near) < 0.3 * np.mean(far)

    changes = [
        np.count_nonzero(np.diff(labels)) / len(labels)
        for labels, _ in read(demo, 'Train_Set').values()
    ]
    assert max(changes) < 0.35  # eight classes by chance would change in 7 of 8 lines


def test_bytes_depend_on_the_seed_alone(demo, tmp_path):
    assert run(tmp_path / 'again', *SMALL, '--workers', 1).returncode == 0
    assert digest(tmp_path / 'again') == digest(demo)
    assert run(tmp_path / 'other', *SMALL, '--seed', 1).returncode == 0
    names = ('annotations', 'cropped_aligned/demo clip 1')
    assert all(digest(tmp_path / 'other' / name) != digest(demo / name) for name in names)


def test_every_class_is_in_several_clips():
    """Of the defaults, and no clip shows much more of a class than another."""
    clips = tool.plan(tool.Settings(0, 24, 8, 3, 120, 112))
    for split in ('train', 'val'):
        hands = np.array(
            [np.bincount(clip.segments, minlength=8) for clip in clips if clip.split == split]
        )
        assert ((hands > 0).sum(0) >= 4).all()
        assert (np.ptp(hands, axis=0) <= 1).all()
    assert len({clip.name for clip in clips}) == len(clips) == 35


def test_expressions_move_the_face():
    """Each pose differs from every other on the same face far more than camera noise does."""
    rng = np.random.default_rng(0)
    face, background = tool.Identity.draw(rng), tool.draw_background(336, rng)
    view = next(tool.film(40, rng))
    poses = [(name, pose) for name, ways in tool.POSES.items() for pose in ways]
    pictures = [
        np.asarray(
            tool.draw_face(face, tool.actions(**pose), view, background).resize((112, 112)), float
        )
        for _, pose in poses
    ]
    for i, (name, _) in enumerate(poses):
        for j, (other, _) in enumerate(poses[:i]):
            changed = (np.abs(pictures[i] - pictures[j]).max(2) > 15).sum()
            assert changed > 60 or name == other, (name, other, changed)


def test_labels_follow_the_actions():
    """A label tells which expression is on the face: brows are down in Anger, corners up in joy."""
    clip = tool.Clip('c', 'train', 0, (1, 4, 0, 6))
    rng = np.random.default_rng(3)
    action, labels = tool.perform(clip, tool.Identity.draw(rng), 200, rng)
    for label, name in ((1, 'brow_lower'), (4, 'lip_pull'), (6, 'outer_brow')):
        column = action[:, tool.ACTIONS.index(name)]
        others = (labels >= 0) & (labels != label)
        assert column[labels == label].min() > column[others].max() - 0.15
    assert set(labels) == {-1, 0, 1, 4, 6}


def test_drawn_already_says_so(demo):
    before = digest(demo)
    result = run(demo, *SMALL)
    assert result.returncode == 0 and 'already' in result.stdout
    assert len(result.stdout.splitlines()) == 1
    other = run(demo, *SMALL, '--seed', 1)
    assert other.returncode == 2 and '--force' in other.stderr
    assert digest(demo) == before


def test_force_replaces_a_drawn_set_only(tmp_path):
    tiny = ('--train-clips', 1, '--val-clips', 1, '--test-clips', 0, '--frames', 40, '--size', 32)
    assert run(tmp_path / 'demo', *tiny).returncode == 0
    assert run(tmp_path / 'demo', *tiny, '--seed', 5, '--force').returncode == 0
    assert json.loads((tmp_path / 'demo/facts.json').read_text())['settings']['seed'] == 5
    assert [path.name for path in tmp_path.iterdir()] == ['demo']

    mine = tmp_path / 'mine'
    mine.mkdir()
    (mine / 'notes.txt').write_text('years of work')
    for force in ((), ('--force',)):
        result = run(mine, *tiny, *force)
        assert result.returncode == 2 and 'did not draw' in result.stderr
    assert [path.name for path in mine.iterdir()] == ['notes.txt']


@pytest.mark.parametrize('existing', [False, True])
def test_a_failed_run_leaves_nothing_behind(tmp_path, monkeypatch, existing):
    calls = []

    def full(*args):
        calls.append(args)
        if len(calls) == 30:
            raise OSError('No space left on device')
        return draw_face(*args)

    draw_face = tool.draw_face
    monkeypatch.setattr(tool, 'draw_face', full)
    if existing:
        (tmp_path / 'demo').mkdir()
    with pytest.raises(OSError, match='No space'):
        tool.main([str(tmp_path / 'demo'), *map(str, SMALL), '--workers', '1'])
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
def test_bad_arguments(tmp_path, capsys, flag, value):
    with pytest.raises(SystemExit, match='2'):
        tool.main([str(tmp_path / 'demo'), flag, value])
    message = capsys.readouterr().err
    assert f'{flag}: got {value}, expected' in message and f'give another {flag}' in message
    assert not any(tmp_path.iterdir())
