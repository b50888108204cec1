"""Scores of a checkpoint through the Python API."""

import runpy
import sys
from pathlib import Path

import mmengine
import mmpretrain
import numpy as np
import pytest
import torch
from conftest import HEADER, write_clip
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS
from sklearn.metrics import f1_score

from abaw_mm.apis import test as score
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.predictions.class_balance import ClassBalance

REPO = Path(__file__).parents[2]
CONFIG = str(REPO / 'configs/res18_srp_demo.py')
PLAIN = REPO / 'benchmarks/configs/res18_srp_demo_plain.py'
LABELS = [0, 1, 2, 3, 4, 5, 6]


@pytest.fixture(scope='module')
def two_faced(tmp_path_factory):
    """A data root, and a checkpoint that gives a frame and its mirror image different classes.

    Frame i has class i + 1 with logit 1, its mirror image class i with logit 3. The head solves
    this exactly, because a frame has more features than there are frames.
    """
    folder = tmp_path_factory.mktemp('tta')
    write_clip(folder / 'affwild2', 'Validation_Set', 'c', LABELS, size=112)
    torch.manual_seed(0)
    cfg = Config.fromfile(PLAIN)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor)).eval()
    dataset = DATASETS.build(
        dict(cfg.test_dataloader.dataset, data_root=str(folder / 'affwild2'), index_cache=None)
    )
    features = []
    for mirrored in (False, True):
        for item in dataset:
            image = item['inputs'].flip(-1) if mirrored else item['inputs']
            batch = dict(inputs=[image], data_samples=[item['data_samples']])
            with torch.no_grad():
                inputs = model.data_preprocessor(batch)['inputs']
                features.append(model.extract_feat(inputs, 'neck')[-1][0])
    classes = torch.tensor([label + 1 for label in LABELS] + LABELS)
    logits = torch.eye(8)[classes] * torch.tensor([1.0] * 7 + [3.0] * 7)[:, None]
    weight = torch.linalg.lstsq(torch.stack(features).double(), logits.double()).solution
    model.head.fc.weight.data = weight.T.float()
    model.head.fc.bias.data.zero_()
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'a.pth')
    return folder, logits.softmax(1).numpy()


def make_options(folder):
    """Overrides that test on the data of ``two_faced``."""
    options = dict(num_workers=0, batch_size=4, **{'dataset.data_root': str(folder / 'affwild2')})
    return {f'test_dataloader.{name}': value for name, value in options.items()}


@pytest.mark.parametrize('tta', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_score_file_and_report_have_the_class_of_the_averaged_scores(two_faced, tta):
    folder, scores = two_faced
    expected = scores[:7] if not tta else (scores[:7] + scores[7:]) / 2
    out, dumped = folder / 'out.npz', folder / 'dumped.npz'
    options = make_options(folder)
    options['test_evaluator'] = [
        dict(type='MacroF1'),
        dict(type='DumpPredictions', out_file_path=str(dumped)),
    ]
    metrics = score(
        CONFIG, str(folder / 'a.pth'), str(folder), str(out), tta=tta, cfg_options=options
    )
    label = expected.argmax(1)
    assert label.tolist() == (LABELS if tta else [x + 1 for x in LABELS])
    f1 = 100 * f1_score(LABELS, label, labels=range(8), average='macro', zero_division=0)
    assert metrics['affwild2/macro_f1'] == pytest.approx(f1)
    assert metrics['affwild2/accuracy'] == (100 if tta else 0)
    for path in (out, dumped):
        read = Predictions.read(path)
        assert read['pred_label'].tolist() == label.tolist()
        assert read['sample_idx'].tolist() == list(range(7))
        np.testing.assert_allclose(read['pred_score'], expected, atol=0.02)  # bfloat16
    assert Predictions.read(out).balance == ClassBalance(0.15)


def run_mmpretrain_tool(monkeypatch, name, *args):
    """Run one of the analysis tools that mmpretrain ships."""
    tool = Path(mmpretrain.__file__).parent / f'.mim/tools/analysis_tools/{name}'
    if not tool.is_file():
        pytest.skip('mmpretrain was installed without its tools')
    monkeypatch.setattr(sys, 'argv', [str(tool), *map(str, args)])
    runpy.run_path(str(tool), run_name='__main__')


@pytest.mark.parametrize('tta', [False, True])
def test_analysis_tools_of_mmpretrain_read_the_pickle(two_faced, monkeypatch, capsys, tta):
    folder, _ = two_faced
    out, shown = folder / 'out.pkl', folder / f'shown{tta}'
    # The list names the frames in another order than their numbers.
    rows = [f'c/{number:05d}.jpg,' for number in (3, 1, 2)]
    (folder / 'affwild2/list.txt').write_text('\n'.join([f'image_location,{HEADER}', *rows]))
    options = make_options(folder)
    score(CONFIG, str(folder / 'a.pth'), str(folder), str(out), tta=tta, cfg_options=options)
    data_root = f'test_dataloader.dataset.data_root={folder / "affwild2"}'
    flags = ('--out-dir', shown, '--cfg-options', data_root)
    run_mmpretrain_tool(monkeypatch, 'analyze_results.py', CONFIG, out, *flags)
    pictures = sorted(path.name for path in shown.rglob('*.png'))
    assert pictures == [f'{number:05d}.jpg.png' for number in range(1, 8)]
    assert len(list((shown / ('success' if tta else 'fail')).glob('*.png'))) == 7
    run_mmpretrain_tool(monkeypatch, 'eval_metric.py', out, '--metric', 'type=Accuracy')
    assert f"'accuracy/top1': {100.0 if tta else 0.0}" in capsys.readouterr().out
    matrix = folder / 'matrix.pkl'
    run_mmpretrain_tool(monkeypatch, 'confusion_matrix.py', CONFIG, out, '--out', matrix)
    assert torch.as_tensor(mmengine.load(matrix)).trace() == (7 if tta else 0)

    options['test_dataloader.dataset.ann_file'] = 'list.txt'
    score(CONFIG, str(folder / 'a.pth'), str(folder), str(out), tta=tta, cfg_options=options)
    rows = [(row['frame_no'], row['sample_idx']) for row in mmengine.load(out)]
    assert rows == [(1, 1), (2, 2), (3, 0)]
