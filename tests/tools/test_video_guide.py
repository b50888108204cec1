"""The commands and the Python code of docs/video.md, on a short video of two drawn persons."""

import re
import shlex

import numpy as np
import pytest
from compose_video import compose, draw_faces, stay, write_video
from conftest import write_clip
from small_model import write_small_model

from abaw_mm.datasets import FeatureFolder
from abaw_mm.datasets.crops.crop_folder import CropFolder, list_crops
from abaw_mm.evaluation import Predictions

pytest.importorskip('facenet_pytorch')
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def guide(request):
    return (request.path.parents[2] / 'docs/video.md').read_text()


@pytest.fixture
def place(tmp_path, monkeypatch, request):
    """Go to a folder with the video, the config and the checkpoint that the guide names."""
    repo = request.path.parents[2]
    config, checkpoint = write_small_model(repo, tmp_path, tmp_path, 'res18_srp_affwild2')
    paths = [stay(8, 80, 120, 120), stay(8, 230, 120, 140)]
    write_video(tmp_path / 'talk.mp4', compose(draw_faces(2, seed=1), paths).images)
    monkeypatch.chdir(tmp_path)
    return lambda text: re.sub(
        r'configs/\w+\.py|\bCONFIG\b', config, text.replace('CHECKPOINT', checkpoint)
    )


def list_commands(section):
    blocks = re.findall(r'```bash\n(.*?)```', section, re.S)
    lines = ''.join(blocks).replace('\\\n', ' ').splitlines()
    return [line for line in map(str.strip, lines) if line.startswith('python ')]


def test_commands_write_what_the_tables_promise(place, guide, run_tool, tmp_path):
    sections = guide.partition('## A webcam')[0].split('\n## ')
    commands = [command for section in sections for command in list_commands(section)]
    assert len(commands) == 3
    crops = tmp_path / 'data/affwild2/cropped_aligned'
    for command in commands:
        _, tool, *arguments = shlex.split(place(command), comments=True)
        if 'measure_crops' in tool:  # of the crops that the command before has cut
            args = [tool.replace('measure_crops', 'predict_video'), 'talk.mp4', '--out', 'cut']
            made = shlex.split(place('CONFIG CHECKPOINT'))
            status, _, error = run_tool('predict_video.py', *made, *args[1:], '--crops')
            assert status == 0, error
            crops.parent.mkdir(parents=True)
            (tmp_path / 'cut/cropped_aligned').rename(crops)
        status, _, error = run_tool(tool.removeprefix('tools/'), *arguments)
        assert status == 0, error
    written = re.findall(r'`(talk[\w.]+)`', guide.partition('### The table')[0])
    missing = [name for name in written if not (tmp_path / 'talk' / name).exists()]
    assert written and not missing


def test_python_code_runs(place, guide, capsys, tmp_path):
    (code,) = re.findall(r'```python\n(.*?)```', guide, re.S)
    names: dict = {}
    exec(place(code), names)
    assert names['result'].tracks.clips == ['talk_left', 'talk_right']
    assert names['result'].predictions['pred_score'].shape == (16, 8)
    assert {path.name for path in (tmp_path / 'talk').iterdir()} == {
        'talk.csv',
        'talk.npz',
        'talk_tracks.json',
        'talk_drawn.mp4',
    }


def test_other_commands_use_predictions_and_crops(place, run_tool, tmp_path):
    """Smoothing in seconds, a submission, and features of the crops once they are annotated."""
    model = shlex.split(place('CONFIG CHECKPOINT'))
    run_tool('predict_video.py', *model, 'talk.mp4', '--out', 'talk', '--crops')
    smooth = ['--method', 'box', '--width', '1.0s', '--out', 'smooth.npz']
    tool = 'analysis_tools/postprocess_predictions.py'
    status, _, error = run_tool(tool, 'talk/talk.npz', *smooth)
    assert status == 0, error
    score = Predictions.read('talk/talk.npz')['pred_score'].reshape(2, 8, 8)
    means = np.repeat(score.mean(axis=1), 8, axis=0)  # 8 frames at 30 per s: all in each window
    np.testing.assert_allclose(Predictions.read('smooth.npz')['pred_score'], means, atol=1e-6)

    header = 'image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other'
    rows = [f'talk_left/{number:05d}.jpg,' for number in range(1, 9)]
    (tmp_path / 'list.txt').write_text('\n'.join([header, *rows]) + '\n')
    frames = ['--frames', 'list.txt', '--out', 'answer.txt']
    status, _, error = run_tool('make_submission.py', 'talk/talk.npz', *frames)
    assert status == 0, error
    answers = (tmp_path / 'answer.txt').read_text().splitlines()[1:]
    assert [int(row[-1]) for row in answers] == score[0].argmax(axis=1).tolist()

    for split, clip in (('Train_Set', 'talk_left'), ('Validation_Set', 'talk_right')):
        write_clip(tmp_path / 'talk', split, clip, [4] * 8, missing=range(1, 9))
    data = [f'{name}_dataloader.dataset.data_root=talk' for name in ('train', 'val', 'test')]
    options = ['--cfg-options', *data]
    status, _, error = run_tool('extract_features.py', *model, '--out', 'features', *options)
    assert status == 0, error
    folder = FeatureFolder.open('features')
    crops = CropFolder(tmp_path / 'talk/cropped_aligned')
    assert len(folder.index) == len(list_crops([crops], crops.clips())) == 16
