"""The page of a video: durations, surest moments, and its look in a real browser."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.postprocessing.seconds import Seconds
from abaw_mm.visualization.report.video_report import find_surest, make_video_report

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
CLASSES = ('Neutral', 'Anger', 'Happiness')
STRANGE = '<img src=x onerror=alert(1)> & $1.mp4'
CLIPS = ['video_3', 'video_left', 'video_right']


@pytest.fixture
def video():
    """Three persons in 90 frames of a variable frame rate; frames 41 to 49 show none."""
    rng = np.random.default_rng(0)
    time = np.cumsum(rng.choice([0.02, 0.04, 0.3], 90))
    shown = np.ones((3, 90), bool)
    shown[:, 40:49] = shown[0, 30:] = shown[2, ::3] = False
    clip_id, frame = np.nonzero(shown)
    score = rng.dirichlet(np.ones(3) / 2, len(frame)).astype(np.float32)
    score[clip_id == 0] = score[clip_id == 0][:, [0, 0, 0]] * 0 + np.float32([0.1, 0.3, 0.6])
    columns = dict(
        gt_label=np.full(len(frame), -1),
        pred_label=score.argmax(axis=1),
        pred_score=score,
        time=time[frame],
    )
    p = Predictions(CLIPS, clip_id, frame + 1, columns, classes=CLASSES, sha256='ab' * 32)
    return p, time


def make_page(p, time, **kwargs):
    ids = dict(video_left=0, video_3=1, video_right=2)
    return make_video_report(p, STRANGE, time, {c: ids[c] for c in p.clips}, **kwargs)


def test_surest_frame_of_each_clip_and_class(video):
    p, _ = video
    expected = []
    for clip_id in range(3):
        for label in range(3):
            rows = np.flatnonzero((p.clip_id == clip_id) & (p['pred_label'] == label))
            if len(rows):
                expected.append(rows[p.confidence[rows].argmax()])
    assert find_surest(p).tolist() == expected and len(expected) == 7


def test_shares_and_durations(video):
    p, time = video
    length = np.append(np.diff(time), np.median(np.diff(time)))
    text = make_page(p, time)
    table = text.split('<table class="shares">')[1].split('</table>')[0]
    rows = [re.findall(r'<td[^>]*>([^<]*)</td>', row) for row in table.split('<tr>')[2:]]
    for label, cells in enumerate(rows[:3]):
        for face, clip in enumerate(['video_left', 'video_3', 'video_right']):
            of_face = p.clip_id == CLIPS.index(clip)
            total = length[p.frame_no[of_face] - 1].sum()
            seconds = length[p.frame_no[of_face & (p['pred_label'] == label)] - 1].sum()
            expected = (
                [f'{100 * seconds / total:.1f} %', f'{seconds:.2f} s'] if seconds else ['–'] * 2
            )
            assert cells[2 * face : 2 * face + 2] == expected
    gap = f'({time[49] - time[40]:.2f} s)'
    assert ' '.join(text.split()).count(f'No face was found in 9 of 90 frames {gap}') == 1
    assert f'<td>{time[40]:.2f} s</td><td>{time[49]:.2f} s</td>' in text


def test_pictures_steps_and_chain(video):
    p, time = video
    smooth = Postprocess(width=Seconds(1))(p)
    rows = find_surest(smooth)
    frames = [(p.clips[p.clip_id[row]], int(p.frame_no[row])) for row in rows]
    pictures = {frame: np.full((8, 8, 3), 200, np.uint8) for frame in frames[:-1]}
    text = make_page(smooth, time, pictures=pictures, chain={'faces': 'MTCNN <b>'})
    assert text.count('src="data:image/jpeg') == len(frames) - 1
    assert text.count('<figure class="face">') == len(frames)
    chain = text.split('<table class="chain">')[1]
    assert 'MTCNN &lt;b&gt;' in chain and 'smooth box 1s' in chain and 'abababababab…' in chain
    for row, (_, number) in zip(rows, frames, strict=True):
        assert f'frame&nbsp;{number - 1}</span>' in text
        assert f'{100 * smooth.confidence[row]:.1f} %' in text
    assert STRANGE not in text and '<script' not in text and "default-src 'none'" in text


def test_part_of_a_video_keeps_its_frame_numbers(video):
    p, time = video
    later = replace(p, frame_no=p.frame_no + 100)
    text, other = make_page(p, time), make_page(later, time, first_frame=101)
    numbers = [[int(x) for x in re.findall(r', frame&nbsp;(\d+)</span>', t)] for t in (text, other)]
    assert numbers[1] == [x + 100 for x in numbers[0]]
    without = [re.sub(r', frame&nbsp;\d+</span>', '', t) for t in (text, other)]
    assert without[0] == without[1]


def test_video_without_a_face_and_with_one_frame(video):
    p, time = video
    none = Predictions([], np.empty(0, int), np.empty(0, int), p.take(slice(0)).columns, CLASSES)
    text = make_page(none, time)
    assert 'No face was found in this video' in text and '90 of 90 frames' in text
    one = p.select_clips(['video_left']).take(slice(1))
    text = make_page(one, time[:1])
    assert 'Every frame shows a face' in text and '0.04 s</b> (1 frame)' in text


def test_page_in_chromium(video, tmp_path):
    sync_api = pytest.importorskip('playwright.sync_api')
    if CHROMIUM is None:
        pytest.skip('no chromium on this machine; apt-get install chromium')
    p, time = video
    path, found, requests = tmp_path / 'page.html', [], []
    path.write_text(make_page(p, time), encoding='utf-8')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        for width in (1280, 390):
            tab = browser.new_page(viewport=dict(width=width, height=800))
            tab.on('console', lambda message: found.append(message.text))
            tab.on('dialog', lambda dialog: found.append(dialog.message))
            tab.on('request', lambda request: requests.append(request.url))
            tab.goto(path.as_uri())
            assert tab.evaluate('document.documentElement.scrollWidth') <= width
            bars = tab.evaluate("""[...document.querySelectorAll('.bar')].map(bar =>
                [...bar.children].map(x => x.getBoundingClientRect().width
                    / bar.getBoundingClientRect().width))""")
            assert [len(bar) for bar in bars] == [3, 1, 3]
            assert [sum(bar) for bar in bars] == pytest.approx([1] * 3, abs=0.01)
            assert tab.locator('.clip svg').count() == 3
        browser.close()
    assert not found and set(requests) == {path.as_uri()}
