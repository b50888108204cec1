"""Import of features in every form, and export back to the same bits."""

import pickle
import sys

import numpy as np
import pytest
from conftest import write_features

from abaw_mm.apis import export_features, import_features
from abaw_mm.datasets import FeatureFolder
from abaw_mm.errors import MissingPackageError

TOOLS = 'dataset_converters'
CLIPS = {'102': [1, 2, 4], 'video1_left': [3, 10007]}
RNG = np.random.default_rng(0)
ARRAYS = {clip: RNG.normal(size=(len(n), 5)).astype(np.float32) for clip, n in CLIPS.items()}
ROWS = {  # in another order than that of the frames
    f'{clip}/{number:05d}.jpg': row
    for clip, numbers in reversed(CLIPS.items())
    for number, row in reversed([*zip(numbers, ARRAYS[clip], strict=True)])
}


def save(path, content):
    """Write a dict as a pickle, .npz or .h5."""
    if path.suffix == '.npz':
        np.savez(path, **content)
    elif path.suffix == '.h5':
        h5py = pytest.importorskip('h5py')
        with h5py.File(path, 'w') as file:
            for name, value in content.items():
                file[name] = value
    else:
        path.write_bytes(pickle.dumps(content))
    return path


def check(folder):
    assert folder.index.clips == sorted(CLIPS)
    for clip, numbers in CLIPS.items():
        assert folder.frame_numbers(clip).tolist() == numbers
        np.testing.assert_array_equal(folder.read(clip), ARRAYS[clip].astype(np.float16))


FORMS = {
    'rows': ROWS,
    'folders before the clip': {f'cropped_aligned/{name}': row for name, row in ROWS.items()},
    'pairs': {f'{c}/features': ARRAYS[c][::-1] for c in CLIPS}
    | {f'{c}/frame_no': np.array(n)[::-1] for c, n in CLIPS.items()},
    'table': dict(names=[*ROWS], features=np.stack([*ROWS.values()])),
}


@pytest.mark.parametrize('suffix', ['.npz', '.h5', '.pickle'])
@pytest.mark.parametrize('form', FORMS)
def test_every_form_gives_the_same_folder(tmp_path, form, suffix):
    path = save(tmp_path / f'face{suffix}', FORMS[form])
    found = import_features([path], tmp_path / 'out')
    check(found.folder)
    assert (found.clips, found.frames, found.dtypes) == (2, 5, ['float32'])
    expected = max(np.abs(a - a.astype(np.float16).astype(float)).max() for a in ARRAYS.values())
    assert found.rounding == pytest.approx(expected)
    assert found.folder.meta['config'] == 'import:face' and len(found.folder.meta['sha256']) == 64


def test_entries_may_be_nested_or_tuples(tmp_path):
    nested = {clip: {} for clip in CLIPS}
    for name, row in ROWS.items():
        clip, file = name.split('/')
        nested[clip][file] = (np.arange(8.0), row)
    path = save(tmp_path / 'a.pkl', nested)
    check(import_features([path], tmp_path / 'out', part=1).folder)
    scores = import_features([path], tmp_path / 'scores').folder
    assert scores.read('102').tolist() == [list(range(8))] * 3
    with pytest.raises(ValueError, match='--part: got 2, expected 0 to 1: each entry of .*102'):
        import_features([path], tmp_path / 'new', part=2)


def test_rows_of_clips_without_numbers_are_consecutive(tmp_path):
    path = save(tmp_path / 'a.npz', ARRAYS)
    folder = import_features([path], tmp_path / 'out', start_index=0).folder
    assert folder.frame_numbers('102').tolist() == [0, 1, 2]
    np.testing.assert_array_equal(folder.read('102'), ARRAYS['102'].astype(np.float16))


def test_several_files_fill_one_folder(tmp_path):
    files = [save(tmp_path / f'{clip}.npz', {clip: ARRAYS[clip]}) for clip in CLIPS]
    assert import_features(files, tmp_path / 'out').folder.index.clips == sorted(CLIPS)
    with pytest.raises(ValueError, match="got '102', which another file has, too"):
        import_features([files[0], files[0]], tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


NAN = {**ROWS, '102/00002.jpg': np.array([1, np.nan, 0, 0, 0])}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (NAN, "features of '102': got NaN, .* for frame 2 .1 such frames"),
        ({**ROWS, '102/00001.jpg': np.full(5, 7e4)}, 'numbers beyond 65504 for frame 1'),
        ({**ROWS, '102/00001.jpg': np.ones(4)}, "'102': got rows of 4 and 5 numbers"),
        ({**ROWS, 'x/1.jpg': np.ones(4)}, "features of 'x': got 4 per frame, expected 5"),
        ({**ROWS, '102/1.jpg': np.ones(5)}, "'102': got frame 1 twice"),
        ({**ROWS, '102/9999999999.jpg': np.ones(5)}, 'got the frame numbers 1 to 9999999999'),
        ({**ROWS, '102': np.ones((2, 5))}, 'expected keys such as'),
        ({'..': np.ones((2, 5))}, "got the clip name '..'"),
        ({'../1.jpg': np.ones(5)}, "got the clip name '..'"),
        ({'102': np.ones(5)}, "features of '102': got float64 of shape .5,."),
        ({'102': np.array([['a']])}, "features of '102': got <U1 of shape"),
        ({'a/frame_no': np.arange(3)}, "got 'a/frame_no' without a/features"),
        (
            {'a/features': np.ones((2, 3)), 'a/frame_no': np.arange(3)},
            'got 2 rows of features for 3 frame numbers',
        ),
        ({'a/features': np.ones((2, 3)), 'a/frame_no': np.ones(2)}, 'got frame_no of float64'),
        (dict(names=['a/1.jpg'], features=np.ones((2, 3))), 'got 1 names for features of shape'),
        (dict(names=['1.jpg'], features=np.ones((1, 3))), "got the name '1.jpg', expected one"),
        ({}, 'got no features'),
    ],
)
def test_wrong_content_is_rejected_before_anything_is_written(tmp_path, content, message):
    path = save(tmp_path / 'a.npz', content)
    with pytest.raises(ValueError, match=message):
        import_features([path], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_wrong_files_are_rejected(tmp_path, monkeypatch):
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match=r"a.mat: got the suffix '.mat', expected one of .npz"):
        import_features([tmp_path / 'a.mat'], out)
    with pytest.raises(FileNotFoundError, match='a.npz: no such file'):
        import_features([tmp_path / 'a.npz'], out)
    save(tmp_path / 'list.pkl', [1, 2])
    with pytest.raises(ValueError, match='got a pickled list, expected a dict'):
        import_features([tmp_path / 'list.pkl'], out)
    save(tmp_path / 'evil.pkl', {'a/1.jpg': print})
    with pytest.raises(ValueError, match='got a pickle that asks for .*print, expected only dicts'):
        import_features([tmp_path / 'evil.pkl'], out)
    np.savez(tmp_path / 'objects.npz', a=np.array([[None]]))
    with pytest.raises(ValueError, match='objects.npz: got a damaged or wrong file'):
        import_features([tmp_path / 'objects.npz'], out)
    monkeypatch.setitem(sys.modules, 'h5py', None)
    (tmp_path / 'a.h5').touch()
    with pytest.raises(MissingPackageError, match='run pip install h5py'):
        import_features([tmp_path / 'a.h5'], out)
    assert not out.exists()


def list_files(folder):
    paths = [path for path in folder.rglob('*') if path.is_file() and path.name != '.lock']
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize('suffix', ['.npz', '.h5'])
def test_round_trip_keeps_every_bit(tiny, tmp_path, suffix):
    if suffix == '.h5':
        pytest.importorskip('h5py')
    write_features(tmp_path / 'first', tiny)
    out = tmp_path / f'a{suffix}'
    clips, frames = export_features(tmp_path / 'first', out)
    index = FeatureFolder.open(tmp_path / 'first').index
    assert (clips, frames) == (len(index.clips), len(index))
    assert import_features([out], tmp_path / 'second').rounding == 0
    assert list_files(tmp_path / 'second') == list_files(tmp_path / 'first')


def test_round_trip_by_a_pickle_keeps_the_features(tiny, tmp_path, run_tool):
    written = write_features(tmp_path / 'first', tiny)
    out = tmp_path / 'a.pickle'
    status, text, err = run_tool(f'{TOOLS}/export_features.py', tmp_path / 'first', out)
    assert status == 0, err
    assert text == f'{out}: 6 clips, {sum(map(len, written.values()))} frames\n'
    content = pickle.loads(out.read_bytes())  # a plain dict of plain arrays
    for clip, rows in written.items():
        for number, row in rows.items():
            np.testing.assert_array_equal(content[f'{clip}/{number:05d}.jpg'], row)
    status, text, err = run_tool(f'{TOOLS}/import_features.py', out, '--out', tmp_path / 'second')
    assert status == 0, err
    assert '6 features per frame (float16); float16 changes them by at most 0' in text
    first, second = (FeatureFolder.open(tmp_path / name) for name in ('first', 'second'))
    for clip in written:
        np.testing.assert_array_equal(first.frame_numbers(clip), second.frame_numbers(clip))
        assert first.read(clip).tobytes() == second.read(clip).tobytes()


def test_exports_of_different_features_do_not_mix(tiny, tmp_path):
    files = []
    for layer in ('neck', 'backbone'):
        write_features(tmp_path / layer, tiny, layer=layer)
        clip = FeatureFolder.open(tmp_path / layer).index.clips[len(files)]
        files.append(tmp_path / f'{layer}.npz')
        export_features(tmp_path / layer, files[-1], [clip])
    with pytest.raises(ValueError, match='got files of different features'):
        import_features(files, tmp_path / 'out')


def test_interrupted_import_continues(tmp_path):
    path = save(tmp_path / 'a.npz', FORMS['pairs'])
    folder = import_features([path], tmp_path / 'out').folder
    folder.array_path('102').unlink()
    kept = folder.array_path('video1_left').stat().st_mtime_ns
    check(import_features([path], tmp_path / 'out').folder)
    assert folder.array_path('video1_left').stat().st_mtime_ns == kept
    save(path, ROWS)
    with pytest.raises(ValueError, match='--out .*: sha256: the folder has'):
        import_features([path], tmp_path / 'out')
