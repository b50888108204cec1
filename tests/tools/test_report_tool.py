"""tools/report.py, and its page in a real browser."""

import html
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.evaluation import (
    MacroF1,
    Predictions,
)
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess

TOOL = 'report.py'
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
HEADER = ','.join(EXPRESSIONS)
STRANGE = '<img src=x onerror=alert(1)> & $1'  # name of a clip; must be escaped
CLIPS = [STRANGE] + [f'video{i:02d}' for i in range(13)]  # more than are shown at first
FRAMES = 12


def write_predictions(path, seed, classes=EXPRESSIONS, keep=slice(None), labelled=True):
    rng = np.random.default_rng(seed)
    label = np.random.default_rng(9).integers(0, 7, len(CLIPS) * FRAMES)
    score = rng.dirichlet(np.ones(8), len(label)) * 0.7 + 0.3 * np.eye(8)[label]
    columns = dict(
        clip=np.array(CLIPS).repeat(FRAMES),
        frame_no=np.tile(np.arange(1, FRAMES + 1), len(CLIPS)),
        gt_label=label if labelled else np.full(len(label), -1),
        pred_score=score[:, : len(classes)] / score[:, : len(classes)].sum(axis=1, keepdims=True),
    )
    np.savez(
        path,
        classes=np.array(classes),
        config=np.array('res18'),
        **{name: column[keep] for name, column in columns.items()},
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two runs, crops and annotations."""
    root = tmp_path_factory.mktemp('report')
    for seed in (0, 1):
        write_predictions(root / f'{seed}.npz', seed)
    picture = Image.new('RGB', (16, 16), 'red')
    run = Predictions.read(root / '0.npz')
    (root / 'ann').mkdir()
    for clip in CLIPS:
        crops = root / 'data/cropped_aligned' / clip
        crops.mkdir(parents=True)
        for number in range(1, FRAMES + 1):
            picture.save(crops / f'{number:05d}.jpg')
        labels = run['gt_label'][run.clip_id == run.clips.index(clip)]
        (root / f'ann/{clip}.txt').write_text('\n'.join([HEADER, *map(str, labels), '-1']) + '\n')
    return root


@pytest.fixture(scope='module')
def page(folder, load_tool):
    """The complete page of both runs."""
    files = [f'{folder}/0.npz', f'{folder}/1.npz', '--out', f'{folder}/report.html']
    data = ['--data-root', f'{folder}/data', '--ann-file', f'{folder}/ann']
    flags = ['--names', 'first', 'second <b>', '--width', '2', '--mistakes', '5']
    assert load_tool(TOOL).main(files + data + flags) == 0
    return folder / 'report.html'


def compute_metrics(path):
    return MacroF1().compute_metrics(Predictions.read(path))


def test_page_in_chromium(folder, page):
    sync_api = pytest.importorskip('playwright.sync_api')
    if CHROMIUM is None:
        pytest.skip('no chromium on this machine; apt-get install chromium')
    messages, requests = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        tab = browser.new_page(viewport=dict(width=1366, height=768))
        tab.on('console', lambda message: messages.append(message.text))
        tab.on('pageerror', lambda error: messages.append(str(error)))
        tab.on('dialog', lambda dialog: messages.append(dialog.message))
        tab.on('request', lambda request: requests.append(request.url))
        tab.goto(page.as_uri())
        scores = tab.locator('.macro-f1').all_text_contents()
        intervals = tab.locator('.interval').all_text_contents()
        tables = [
            [row.split('\t') for row in table.splitlines()[-8:]]
            for table in tab.locator('table.per-class').all_inner_texts()
        ]
        boxes = tab.evaluate("""[...document.querySelectorAll('svg')]
            .filter(x => !x.closest('details')).map(x => x.getBoundingClientRect())
            .map(box => [box.width, box.height])""")
        pictures = tab.evaluate('[...document.images].map(x => x.naturalWidth)')
        width = tab.evaluate('document.documentElement.scrollWidth')
        first_clips = tab.locator('.clip h3').all_text_contents()
        hidden = tab.locator('details .clip svg').last.is_visible()
        tab.emulate_media(media='print')
        printed = tab.locator('details .clip svg').last.is_visible()
        pdf = tab.pdf()
        browser.close()
    assert messages == []
    assert [url for url in requests if not url.startswith('data:')] == [page.as_uri()]
    assert width <= 1366 and pdf.startswith(b'%PDF')
    assert len(boxes) == 1 + 2 + 2 + 12 and min(min(box) for box in boxes) > 60
    assert pictures == [16] * 10
    assert sorted(first_clips) == sorted(CLIPS)
    assert printed and not hidden
    for seed in (0, 1):
        expected = compute_metrics(folder / f'{seed}.npz')
        low, high = map(float, intervals[seed].split(' to '))
        assert low < expected['macro_f1'] < high
        assert scores[seed] == f'{expected["macro_f1"]:.2f}'
        for name, row in zip(EXPRESSIONS, tables[seed], strict=True):
            assert row[0] == name
            assert row[3] == f'{expected[f"f1_{name}"]:.2f}'
            assert int(row[4]) == expected['support'][name]


def test_page_loads_and_runs_nothing(page):
    text = page.read_text(encoding='utf-8')
    assert '<script' not in text and STRANGE not in text and 'second <b>' not in text
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    assert "default-src 'none'" in text


def test_smoothing_is_not_on_the_cards(page):
    cards = page.read_text(encoding='utf-8').split('<div class="cards">')[1].split('<table')[0]
    assert 'macro-F1' in cards and 'smoothed' not in cards


def test_worst_clips_first(folder, page):
    names = re.findall(r'<h3>(.+)</h3>\n<p class="facts">', page.read_text(encoding='utf-8'))
    right = np.zeros(len(CLIPS), int)  # frames of both runs
    for seed in (0, 1):
        run = Predictions.read(folder / f'{seed}.npz')
        right += np.bincount(run.clip_id, run['pred_label'] == run['gt_label']).astype(int)
    order = [right[run.clips.index(html.unescape(name))] for name in names]
    assert len(names) == len(CLIPS) and order == sorted(right)


def test_page_of_one_run_without_crops(folder, run_tool):
    out = folder / 'plain.html'
    picture = folder / 'confusion.png'
    flags = ('--no-smoothing', '--confusion', picture)
    status, printed, _ = run_tool(TOOL, folder / '1.npz', '--out', out, *flags)
    assert status == 0
    with Image.open(picture) as image:
        assert image.format == 'PNG' and image.width > 1000
    text = out.read_text(encoding='utf-8')
    assert 'No pictures: the page was made without crops' in text
    assert 'Before and after' not in text and '<h1>Expression predictions: 1</h1>' in text
    assert '168 frames, clips: 14, runs: 1, ' in printed


@pytest.mark.parametrize(
    'file, message',
    [
        (
            dict(classes=EXPRESSIONS[:7]),
            'x.npz: got 7 classes .* first difference is class 7, nothing instead of Other',
        ),
        (
            dict(keep=slice(5, None)),
            r"x.npz: 5 frames of .*0.npz are missing, such as '.*/1'",
        ),
        (dict(labelled=False), 'x.npz: got 168 frames without any label'),
    ],
)
def test_unsuitable_files_are_refused(folder, run_tool, file, message):
    write_predictions(folder / 'x.npz', 0, **file)
    files = (folder / '0.npz', folder / 'x.npz')
    status, _, error = run_tool(TOOL, *files, '--out', folder / 'bad.html')
    assert status == 1 and re.search(message, error)
    assert not (folder / 'bad.html').exists()


def test_predictions_of_a_video_are_referred_to_its_command(folder, run_tool):
    write_predictions(folder / 'x.npz', 0, labelled=False)
    p = Predictions.read(folder / 'x.npz')
    p.with_columns(time=p.frame_no / 25).write(folder / 'video.npz')
    status, _, error = run_tool(TOOL, folder / 'video.npz', '--out', folder / 'bad.html')
    assert status == 1 and 'predictions of a video' in error and 'tools/predict_video.py' in error


def test_predictions_must_match_the_annotations(folder, run_tool):
    write_predictions(folder / 'x.npz', 0, keep=slice(None, -3))
    flags = ('--out', folder / 'bad.html', '--data-root', folder / 'data', '--ann-file')
    status, _, error = run_tool(TOOL, folder / 'x.npz', *flags, folder / 'ann')
    assert status == 1 and re.search("lacks 3 of the 168 labelled .* 'video12/10'", error)
    text = (folder / 'ann/video03.txt').read_text().splitlines()
    text[4] = '7'  # labels of the predictions go to 6
    other = folder / 'other'
    shutil.copytree(folder / 'ann', other)
    (other / 'video03.txt').write_text('\n'.join(text) + '\n')
    status, _, error = run_tool(TOOL, folder / '0.npz', *flags, other)
    assert status == 1 and re.search("has other labels for 1 of the 168 .* 'video03/4'", error)


@pytest.mark.parametrize(
    'root, message',
    [('nowhere', 'no folder .*nowhere'), ('ann', 'no crop of 168 of the 168 frames')],
)
def test_missing_crops_are_an_error(folder, run_tool, root, message):
    flags = ('--out', folder / 'bad.html', '--data-root', folder / root)
    status, _, error = run_tool(TOOL, folder / '0.npz', *flags)
    assert status == 1 and re.search(message, error)


def test_runs_are_named_by_what_differs_in_their_paths(load_tool, run_tool):
    make_names = load_tool(TOOL).make_names
    assert make_names(['a/val.npz', 'b/val.npz']) == ['a/val', 'b/val']
    assert make_names(['a/x.npz', 'a/y.npz']) == ['x', 'y']
    assert make_names(['lr_0.005', 'lr_0.001.npz']) == ['lr_0.005', 'lr_0.001']
    assert run_tool(TOOL, 'a.npz', 'a.npz', '--out', 'x.html')[0] == 2


def test_postprocessed_file_is_named_and_not_smoothed_again(folder, run_tool, tmp_path):
    smooth = tmp_path / 'smooth.npz'
    Postprocess(width=3, hold=2)(Predictions.read(folder / '0.npz')).write(smooth)
    out = tmp_path / 'report.html'
    status, printed, _ = run_tool(TOOL, folder / '0.npz', smooth, '--out', out)
    assert status == 0 and "because of the step 'hold 2', 'smooth box 3' in the files" in printed
    text = out.read_text(encoding='utf-8')
    assert text.count('<dd>smooth box 3, hold 2</dd>') == 1 and 'Before and after' not in text
