"""tools/report.py on the VA, the AU and the multi-task track, against independent results."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.metrics import CCC, ActionUnitF1, MultiTaskScore
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.structures.tasks import ACTION_UNITS, AFFECTS, EXPRESSIONS

TOOL = 'report.py'
CLIPS = [f'video{i}' for i in range(5)]
FRAMES = 40
THRESHOLDS = tuple(np.linspace(0.3, 0.7, 12).round(3))


class Page(HTMLParser):
    """Tables, cards and clips of a page."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.kinds, self.scores, self.terms = [], [], {}, {}
        self.heads, self._open, self._term = [], None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        kind = dict(attrs).get('class', '')
        if tag == 'table':
            self.tables.append([])
            self.kinds.append(kind)
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('th', 'td'):
            self.tables[-1][-1].append('')
        self._open = (tag, kind)

    def handle_data(self, data):
        tag, kind = self._open or ('', '')
        if tag in ('th', 'td'):
            self.tables[-1][-1][-1] += data.strip()
        elif tag == 'span' and kind in ('ccc', 'mean-f1', 'macro-f1', 'p-score'):
            self.scores.setdefault(kind, []).append(data)
        elif tag == 'dt':
            self._term = data
        elif tag == 'dd':
            self.terms.setdefault(self._term, []).append(data)
        elif tag == 'h3':
            self.heads.append(data)

    def handle_endtag(self, tag):
        self._open = None

    def rows(self, kind, number=0):
        """Return the rows of a table by their first cell."""
        at = [i for i, name in enumerate(self.kinds) if name == kind][number]
        return {row[0]: row[1:] for row in self.tables[at][1:]}


def number(text):
    return float(text.replace('\u2212', '-'))


def make_arrays(task, seed):
    """Make the columns of a run; parts of multi-task rows are hidden, and one row is repeated."""
    truth, rng = np.random.default_rng(7), np.random.default_rng(seed)
    size = len(CLIPS) * FRAMES
    arrays = dict(
        clip=np.array(CLIPS).repeat(FRAMES),
        frame_no=np.tile(np.arange(1, FRAMES + 1), len(CLIPS)),
        sample_idx=np.arange(size),
    )
    if task in ('va', 'mtl'):
        va = truth.uniform(-0.9, 0.9, (size, 2)).astype(np.float32)
        va[:FRAMES, 0] = 0.25  # constant in the first clip
        arrays['gt_va'] = va
        noise = rng.normal(0.1, 0.3, (size, 2))
        arrays['pred_va'] = np.clip(0.6 * va + noise, -1, 1).astype(np.float32)
    if task in ('au', 'mtl'):
        au = (truth.random((size, 12)) < np.linspace(0.1, 0.6, 12)).astype(np.int32)
        arrays['gt_au'] = au
        arrays['pred_au'] = np.clip(0.35 * au + 0.65 * rng.random((size, 12)), 0, 1).astype(
            np.float32
        )
    if task == 'mtl':
        label = truth.integers(0, 8, size)
        score = rng.dirichlet(np.ones(8), size) * 0.6 + 0.4 * np.eye(8)[label]
        arrays |= dict(gt_label=label, pred_score=score, classes=np.array(EXPRESSIONS))
        arrays['gt_va'][::3] = -5
        arrays['gt_label'][1::4] = -1
        arrays['gt_au'][2::5] = -1
        copy = dict(clip=CLIPS[0], frame_no=1, sample_idx=size)
        for name in arrays:
            if name != 'classes':
                row = copy.get(name, arrays[name][0])
                arrays[name] = np.concatenate([arrays[name], np.array(row)[None]])
    return arrays


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two runs of each track, those of action units with thresholds."""
    root = tmp_path_factory.mktemp('tracks')
    for task in ('va', 'au', 'mtl'):
        for seed in (0, 1):
            np.savez(
                root / f'{task}{seed}.npz', config=np.array('res18'), **make_arrays(task, seed)
            )
    run = Predictions.read(root / 'au0.npz')
    Postprocess(threshold=THRESHOLDS)(run).write(root / 'chosen.npz')
    picture = Image.new('RGB', (16, 16), 'red')
    for clip in CLIPS:
        (root / 'data/cropped_aligned' / clip).mkdir(parents=True)
        for frame in range(1, FRAMES + 1):
            picture.save(root / f'data/cropped_aligned/{clip}/{frame:05d}.jpg')
    return root


@pytest.fixture
def make_page(folder, run_tool, tmp_path):
    """Return a function that writes the page of some runs and parses it."""

    def make(*names, flags=()):
        files = [folder / f'{name}.npz' for name in names]
        status, _, error = run_tool(TOOL, *files, '--out', tmp_path / 'page.html', *flags)
        assert status == 0, error
        return Page((tmp_path / 'page.html').read_text(encoding='utf-8'))

    return make


def compute_ccc(x, y):
    covariance = np.cov(x, y, bias=True)
    return 2 * covariance[0, 1] / (np.trace(covariance) + (x.mean() - y.mean()) ** 2)


def test_page_of_valence_and_arousal(folder, make_page):
    page = make_page('va0', 'va1')
    totals = []
    for at in (0, 1):
        run = make_arrays('va', at)
        pred, truth = (run[name].astype(np.float64) for name in ('pred_va', 'gt_va'))
        ccc = [compute_ccc(x, y) for x, y in zip(pred.T, truth.T, strict=True)]
        expected = CCC().compute_metrics(Predictions.read(folder / f'va{at}.npz'))
        assert number(page.scores['ccc'][at]) == round(np.mean(ccc), 3)
        assert number(page.scores['ccc'][at]) == round(expected['ccc'], 3)
        low, high = map(number, page.terms['95 % interval'][at].split(' to '))
        assert low < np.mean(ccc) < high
        for column, name in enumerate(AFFECTS):
            x, y = pred[:, column], truth[:, column]
            cells = page.rows('per-dimension', at)[name]
            assert number(cells[0]) == round(ccc[column], 3)
            low, high = map(number, cells[1].split(' to '))
            assert low < ccc[column] < high
            assert list(map(number, cells[2:])) == pytest.approx(
                [
                    np.corrcoef(x, y)[0, 1],
                    np.sqrt(np.mean((x - y) ** 2)),
                    np.mean(x - y),
                    x.std() / y.std(),
                ],
                abs=5.1e-4,
            )
            assert number(page.rows('dimensions')[name][at]) == round(ccc[column], 3)
        own = [
            compute_ccc(pred[rows, column], truth[rows, column])
            for column in (0, 1)
            for rows in np.arange(len(pred)).reshape(len(CLIPS), FRAMES)[1 - column :]
        ]
        means = np.mean(own[:4]), np.mean(own[4:])  # valence is constant in the first clip
        assert number(page.rows('dimensions')['mean over clips'][at]) == pytest.approx(
            np.mean(means), abs=5.1e-4
        )
        totals.append(np.mean(ccc))
    assert number(page.rows('dimensions')['mean CCC'][2]) == pytest.approx(
        totals[1] - totals[0], abs=5.1e-4
    )


def test_clips_of_valence_and_arousal_are_sorted_by_error(folder, run_tool, tmp_path):
    out = tmp_path / 'page.html'
    run_tool(TOOL, folder / 'va0.npz', '--out', out)
    run = make_arrays('va', 0)
    pred, truth = (run[name].reshape(len(CLIPS), FRAMES, 2) for name in ('pred_va', 'gt_va'))
    rmse = np.sqrt(np.mean((pred.astype(float) - truth) ** 2, axis=1))
    found = re.findall(
        r'<h3>(\w+)</h3>\n<p class="facts">40 frames, 1 to 40;\s+CCC <b>(\S+)</b> and <b>(\S+)</b>,'
        r'\s+error (\S+) and (\S+)</p>',
        out.read_text(encoding='utf-8'),
    )
    order = np.argsort(-rmse.mean(axis=1))
    assert [clip for clip, *_ in found] == [CLIPS[i] for i in order]
    for at, (_, valence, arousal, *errors) in zip(order, found, strict=True):
        assert (valence == '–') == (at == 0)  # valence is constant in the first clip
        own = compute_ccc(pred[at, :, 1].astype(float), truth[at, :, 1].astype(float))
        assert number(arousal) == pytest.approx(own, abs=5.1e-4)
        assert list(map(number, errors)) == pytest.approx(rmse[at], abs=5.1e-4)


@pytest.mark.parametrize('names', [('au0', 'au1'), ('chosen',)])
def test_page_of_action_units(folder, make_page, names):
    page = make_page(*names)
    for at, name in enumerate(names):
        run = make_arrays('au', int(name[-1]) if name != 'chosen' else 0)
        threshold = np.float32(THRESHOLDS if name == 'chosen' else [0.5] * 12)
        truth, pred = run['gt_au'], run['pred_au'] >= threshold
        f1 = 100 * f1_score(truth, pred, average=None)
        metric = ActionUnitF1([float(x) for x in threshold])
        expected = metric.compute_metrics(Predictions.read(folder / f'{name}.npz'))
        assert number(page.scores['mean-f1'][at]) == pytest.approx(f1.mean(), abs=5.1e-3)
        assert number(page.scores['mean-f1'][at]) == pytest.approx(expected['mean_f1'], abs=5.1e-3)
        low, high = map(number, page.terms['95 % interval'][at].split(' to '))
        assert low < f1.mean() < high
        for column, unit in enumerate(ACTION_UNITS):
            one, other = truth[:, column], pred[:, column]
            cells = page.rows('per-unit', at)[unit]
            low, high = map(number, cells.pop(4).split(' to '))
            assert low < f1[column] < high
            assert list(map(number, cells)) == pytest.approx(
                [
                    threshold[column],
                    100 * precision_score(one, other),
                    100 * recall_score(one, other),
                    f1[column],
                    100 * balanced_accuracy_score(one, other),
                    one.sum(),
                    100 * one.mean(),
                    100 * other.mean(),
                ],
                abs=5.1e-3,
            )
            if len(names) == 2:
                assert number(page.rows('units')[unit][at]) == pytest.approx(f1[column], abs=5.1e-3)


def test_page_of_multi_task_predictions_shows_all_parts(folder, make_page):
    page = make_page('mtl0', 'mtl1')
    for at in (0, 1):
        run = make_arrays('mtl', at)
        expected = MultiTaskScore().score(Predictions.read(folder / f'mtl{at}.npz'))
        known = run['gt_va'][:, 0] != -5
        pred, truth = (run[name][known].astype(float) for name in ('pred_va', 'gt_va'))
        ccc = np.mean([compute_ccc(x, y) for x, y in zip(pred.T, truth.T, strict=True)])
        known = run['gt_label'] != -1
        macro = f1_score(
            run['gt_label'][known], run['pred_score'][known].argmax(axis=1), average='macro'
        )
        known = run['gt_au'][:, 0] != -1
        mean = f1_score(run['gt_au'][known], run['pred_au'][known] >= 0.5, average='macro')
        total = ccc + macro + mean
        assert total == pytest.approx(expected['p_score'], abs=1e-6)
        for found, value, digits in (
            (page.scores['p-score'][at], total, 3),
            (page.scores['ccc'][at], ccc, 3),
            (page.scores['macro-f1'][at], 100 * macro, 2),
            (page.scores['mean-f1'][at], 100 * mean, 2),
            (page.rows('terms')['mean CCC'][at], ccc, 3),
            (page.rows('terms')['macro-F1'][at], macro, 3),
            (page.rows('terms')['mean F1 of units'][at], mean, 3),
            (page.rows('terms')['P'][at], total, 3),
        ):
            assert number(found) == pytest.approx(value, abs=0.51 * 10**-digits)
        low, high = map(number, page.terms['95 % interval'][at].split(' to '))
        assert low < total < high
    assert [page.heads.count(clip) for clip in CLIPS] == [3] * 5  # a timeline for each part


def test_part_of_multi_task_predictions_without_annotations_is_left_out(folder, run_tool, tmp_path):
    arrays = make_arrays('mtl', 0)
    arrays['gt_au'][:] = -1
    np.savez(tmp_path / 'some.npz', **arrays)
    status, _, error = run_tool(TOOL, tmp_path / 'some.npz', '--out', tmp_path / 'page.html')
    assert status == 0, error
    page = Page((tmp_path / 'page.html').read_text(encoding='utf-8'))
    assert 'mean-f1' not in page.scores and page.terms['mean F1 of units'] == ['0.000']
    expected = MultiTaskScore().score(Predictions.read(tmp_path / 'some.npz'))
    assert number(page.scores['p-score'][0]) == round(expected['p_score'], 3)


@pytest.mark.parametrize('task', ['va', 'au'])
def test_smoothing_of_other_tracks(folder, make_page, task):
    page = make_page(f'{task}0', flags=['--width', '3'])
    run = Predictions.read(folder / f'{task}0.npz')
    metric, key, digits = (CCC(), 'ccc', 3) if task == 'va' else (ActionUnitF1(), 'mean_f1', 2)
    row = page.rows(f'{task}-smoothing')['mean CCC' if task == 'va' else 'mean F1']
    before, after = (metric.score(x)[key] for x in (run, Postprocess(width=3)(run)))
    assert list(map(number, row)) == pytest.approx(
        [before, after, after - before], abs=0.51 * 10**-digits
    )


def test_pictures_of_the_worst_frames(folder, run_tool, tmp_path):
    out = tmp_path / 'page.html'
    flags = ('--data-root', folder / 'data', '--mistakes', 4)
    for task in ('va', 'au'):
        assert run_tool(TOOL, folder / f'{task}0.npz', '--out', out, *flags)[0] == 0
        text = out.read_text(encoding='utf-8')
        assert text.count('<img src="data:image/jpeg') == 4
        run = make_arrays(task, 0)
        error = abs(run[f'pred_{task}'] - run[f'gt_{task}'])
        if task == 'va':
            row = np.linalg.norm(error, axis=1).argmax()
        else:
            wrong = (run['pred_au'] >= 0.5) != run['gt_au']
            row = np.where(wrong, error, 0).max(axis=1).argmax()
        first = re.search(r'alt="(\w+), frame (\d+)"', text)
        assert first.groups() == (run['clip'][row], str(run['frame_no'][row]))


def write_annotations(root, task):
    """Write the annotations of the runs and return the folder or file."""
    run = make_arrays(task, 0)
    if task == 'mtl':
        header = f'image,valence,arousal,expression,{",".join(ACTION_UNITS)}'
        lines = [header]
        for row, (clip, frame) in enumerate(zip(run['clip'], run['frame_no'], strict=True)):
            values = [*run['gt_va'][row].tolist(), run['gt_label'][row], *run['gt_au'][row]]
            lines.append(f'{clip}/{frame:05d}.jpg,{",".join(map(str, values))}')
        path = root / 'mtl.txt'
        path.write_text('\n'.join(lines) + '\n')
        return path
    names = AFFECTS if task == 'va' else ACTION_UNITS
    (root / task).mkdir()
    for clip in CLIPS:
        values = run[f'gt_{task}'][run['clip'] == clip].tolist()
        lines = [','.join(names), *(','.join(map(str, row)) for row in values)]
        (root / f'{task}/{clip}.txt').write_text('\n'.join(lines) + '\n')
    return root / task


@pytest.mark.parametrize('task', ['va', 'au', 'mtl'])
def test_predictions_must_match_the_annotations_of_their_track(folder, run_tool, tmp_path, task):
    path = write_annotations(tmp_path, task)
    flags = ('--out', tmp_path / 'page.html', '--data-root', folder / 'data', '--ann-file', path)
    status, _, error = run_tool(TOOL, folder / f'{task}0.npz', *flags)
    assert status == 0, error
    arrays = make_arrays(task, 0)
    name = 'gt_va' if task != 'au' else 'gt_au'
    arrays[name][10] = np.where(arrays[name][10] == 1, 0, 1)
    np.savez(tmp_path / 'other.npz', **arrays)
    status, _, error = run_tool(TOOL, tmp_path / 'other.npz', *flags)
    assert status == 1 and re.search(r"has other labels for 1 of the \d+ .*'video0/11'", error)
    kept = np.arange(len(arrays['clip'])) != len(arrays['clip']) - 1  # of MTL, the repeated row
    less = {name: x[kept] if name != 'classes' else x for name, x in make_arrays(task, 0).items()}
    np.savez(tmp_path / 'less.npz', **less)
    status, _, error = run_tool(TOOL, tmp_path / 'less.npz', *flags)
    assert status == 1 and 'less.npz: lacks 1 of the ' in error


@pytest.mark.parametrize(
    'files, flags, message',
    [
        (['va0', 'au0'], [], "au0.npz: got predictions of the track 'au', and of 'va' in"),
        (['va0'], ['--absent', 'skip'], "--absent: got it for predictions of the track 'va'"),
        (['au0'], ['--classes', 'a'], "--classes: got it for predictions of the track 'au'"),
        (['va0'], ['--confusion', 'x.png'], '--confusion: got it for predictions of the track'),
        (['va0'], ['--hold', '3'], "--hold: got it for predictions of the track 'va'"),
    ],
)
def test_options_without_effect_are_refused(folder, run_tool, tmp_path, files, flags, message):
    paths = [folder / f'{name}.npz' for name in files]
    status, _, error = run_tool(TOOL, *paths, '--out', tmp_path / 'page.html', *flags)
    assert status == 1 and message in error
    assert not (tmp_path / 'page.html').exists()
