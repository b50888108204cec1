"""Two processes with different code, config or data end with the same line."""

import pytest
from conftest import write_clip
from mmengine.config import Config
from mmengine.dist import all_gather_object, get_rank

from abaw_mm.datasets import AffWild2Dataset
from abaw_mm.engine.processes import digests
from abaw_mm.engine.processes.comparison import compare_processes, explain_differences
from abaw_mm.engine.processes.digests import (
    describe_files,
    describe_program,
    digest_dataset,
)
from abaw_mm.errors import InvalidValueError


def catch(describe):
    """Compare on all processes; returns the message of each."""
    try:
        compare_processes(describe, 'use one')
    except InvalidValueError as error:
        return all_gather_object(str(error))
    return all_gather_object('')


def make_cfg(lr=0.1, workers=2, root='/data'):
    loader = dict(num_workers=workers, dataset=dict(data_root=root))
    return Config(dict(optim_wrapper=dict(optimizer=dict(lr=lr)), train_dataloader=loader))


def compare_in_process(folder):
    rank = get_rank()
    same = make_cfg(workers=rank, root=f'/data{rank}')  # what may differ between machines
    assert catch(lambda: describe_program(same)) == ['', '']

    one, other = catch(lambda: describe_program(make_cfg(lr=(rank + 1) / 10)))
    assert one == other and one.startswith('optim_wrapper.optimizer.lr: got 0.2 on rank 1 (')
    assert 'and 0.1 on rank 0 (' in one and one.endswith('expected the same; use one')

    data = AffWild2Dataset('annotations/EXPR_Recognition_Challenge/Train_Set', str(folder / '0'))
    copy = AffWild2Dataset(
        'annotations/EXPR_Recognition_Challenge/Train_Set', str(folder / str(rank))
    )
    assert catch(lambda: dict(train=digest_dataset(data))) == ['', '']
    one, other = catch(lambda: dict(train=digest_dataset(copy)))
    assert one == other and one.startswith('train: got 3 items, SHA-256 ')


def test_two_processes_with_other_settings_or_labels(tmp_path, run_distributed):
    for number, label in enumerate((4, 5)):
        write_clip(tmp_path / str(number), 'Train_Set', 'a', [0, 1, label])
    run_distributed(compare_in_process, tmp_path)


def test_single_process_describes_nothing():
    compare_processes(lambda: pytest.fail('described'), '')


def test_many_differences_are_counted():
    answers = [('a', {}), ('b', {str(i): ('0', '1') for i in range(7)}), ('c', {'0': ('0', '2')})]
    text = explain_differences(answers)
    assert text.count('got 1 on rank 1 (b) and 0 on rank 0 (a)') == 5
    assert text.endswith(' and 2 more (1 other process differs)')
    assert explain_differences([('a', {})] * 3) == ''


# ------------------------------------------------------------------------------------- checksums


def read(folder, **options):
    return AffWild2Dataset(
        'annotations/EXPR_Recognition_Challenge/Train_Set', str(folder), **options
    )


def test_digest_of_copies_is_the_same(tmp_path):
    for name in 'ab':
        write_clip(tmp_path / name, 'Train_Set', 'clip', [0, 1, 2, -1])
    assert digest_dataset(read(tmp_path / 'a')) == digest_dataset(read(tmp_path / 'b'))


@pytest.mark.parametrize('change', ['label', 'image', 'frame', 'clip'])
def test_digest_sees_each_change(tmp_path, change):
    write_clip(tmp_path / 'a', 'Train_Set', 'clip', [0, 1, 2, -1])
    labels = [0, 1, 3, -1] if change == 'label' else [0, 1, 2, -1]
    missing, name = (2,) if change == 'frame' else (), 'klip' if change == 'clip' else 'clip'
    write_clip(tmp_path / 'b', 'Train_Set', name, labels, missing=missing)
    if change == 'image':
        path = tmp_path / 'b/cropped_aligned/clip/00002.jpg'
        path.write_bytes(path.read_bytes() + b'\0')
    assert digest_dataset(read(tmp_path / 'a')) != digest_dataset(read(tmp_path / 'b'))


def test_files_are_described_by_their_content(tmp_path):
    one, other = tmp_path / 'one.pth', tmp_path / 'other.pth'
    one.write_bytes(b'abc')
    other.write_bytes(b'abc')
    # of `printf abc | sha256sum`
    assert describe_files(load_from=str(one)) == {'load_from': 'SHA-256 ba7816bf8f01'}
    assert describe_files(load_from=str(one)) == describe_files(load_from=str(other))
    assert describe_files(load_from=None, checkpoint='https://x') == {
        'load_from': 'None',
        'checkpoint': 'https://x',
    }


def test_sources_are_part_of_the_program(tmp_path, monkeypatch):
    before = describe_program(make_cfg())
    (tmp_path / 'module.py').write_text('a = 1')
    monkeypatch.setattr(digests, 'PACKAGE', tmp_path)
    after = describe_program(make_cfg())
    assert {name for name in before if before[name] != after[name]} == {'code of abaw_mm (SHA-256)'}
    (tmp_path / 'module.py').write_text('a = 2')
    assert describe_program(make_cfg()) != after


def test_functions_in_a_config_have_no_address():
    cfg = Config(dict(a=[dict(b=test_single_process_describes_nothing, c=Config)]))
    facts = describe_program(cfg)
    assert facts['a[0].b'].endswith('.test_single_process_describes_nothing')
    assert facts['a[0].c'] == 'mmengine.config.config.Config'
