"""Scores of a checkpoint through the Python API."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_clip
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS
from sklearn.metrics import f1_score

from abaw_mm.apis import test as score
from abaw_mm.evaluation import Predictions

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


@pytest.mark.parametrize('tta', [False, True])
def test_score_file_and_report_have_the_class_of_the_averaged_scores(two_faced, tta):
    folder, scores = two_faced
    expected = scores[:7] if not tta else (scores[:7] + scores[7:]) / 2
    out, dumped = folder / 'out.npz', folder / 'dumped.npz'
    options = dict(num_workers=0, batch_size=4, **{'dataset.data_root': str(folder / 'affwild2')})
    options = {f'test_dataloader.{name}': value for name, value in options.items()}
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
        np.testing.assert_allclose(read['pred_score'], expected, atol=0.02)  # bfloat16
