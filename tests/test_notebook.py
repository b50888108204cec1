"""docs/notebooks/tour.ipynb: what is stored in it, and a run of all its cells."""

import os
import re
import sys
from pathlib import Path

import pytest
from sklearn.metrics import f1_score

from abaw_mm.evaluation import Predictions

REPO = Path(__file__).parents[1]
nbformat = pytest.importorskip('nbformat')  # with nbclient


@pytest.fixture
def tour():
    return nbformat.read(REPO / 'docs/notebooks/tour.ipynb', as_version=4)


def test_outputs_are_stored_in_the_order_of_the_cells(tour):
    cells = [cell for cell in tour.cells if cell.cell_type == 'code']
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not any(output.output_type == 'error' for output in outputs)
    pictures = [output for output in outputs if 'image/png' in output.get('data', {})]
    assert len(pictures) == 3
    assert os.path.getsize(REPO / 'docs/notebooks/tour.ipynb') < 1e6


def test_first_code_cell_installs_the_package_only_where_it_is_missing(tour):
    first = next(cell for cell in tour.cells if cell.cell_type == 'code').source
    assert re.search(r"find_spec\('abaw_mm'\) is None:\n    %pip install ", first)
    assert tour.metadata.kernelspec.name == 'python3'  # Colab's


@pytest.mark.slow
def test_all_cells_run(tour, tmp_path, monkeypatch):
    """``%%bash -e`` and the code stop at the first error; the score is scikit-learn's."""
    nbclient = pytest.importorskip('nbclient')
    pytest.importorskip('ipykernel')
    monkeypatch.setenv('PATH', f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
    monkeypatch.setenv('PYTHONPATH', str(REPO))
    resources = dict(metadata=dict(path=str(tmp_path)))
    nbclient.NotebookClient(tour, timeout=900, resources=resources).execute()
    scored = Predictions.read(tmp_path / 'predictions.npz')
    f1 = f1_score(scored['gt_label'], scored['pred_label'], labels=range(8), average='macro')
    text = ''.join(o.text for c in tour.cells for o in c.get('outputs', ()) if 'text' in o)
    assert f'macro-F1 {100 * f1:.2f} %' in text
    (title,) = re.findall(r'macro-F1 ([\d.]+)</title>', (tmp_path / 'report.html').read_text())
    assert float(title) == pytest.approx(100 * f1, abs=0.06)
