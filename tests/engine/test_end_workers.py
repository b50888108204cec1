"""Workers of data loaders end with their run."""

import pytest
from mmengine.runner import Runner
from tiny_run import tiny_cfg

from abaw_mm.engine.end_workers import end_workers


@pytest.mark.parametrize('persistent', [True, False])
def test_workers_of_a_training_end_by_themselves(repo, tiny, tmp_path, persistent):
    cfg = tiny_cfg(repo, tiny, tmp_path)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=1, persistent_workers=persistent)
    runner = Runner.from_cfg(cfg)
    workers = []
    with pytest.raises(KeyboardInterrupt), end_workers(runner):
        runner.train()
        iterators = [runner.train_loop.dataloader_iterator._iterator]
        if persistent:
            iterators.append(runner.val_dataloader._iterator)
        workers = [worker for iterator in iterators for worker in iterator._workers]
        assert len(workers) == 1 + persistent and all(worker.is_alive() for worker in workers)
        raise KeyboardInterrupt
    assert [worker.exitcode for worker in workers] == [0] * len(workers)  # none was terminated
