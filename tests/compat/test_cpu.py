"""Training and testing without CUDA."""

import datetime
import os
import socket
import stat
from contextlib import nullcontext
from pathlib import Path

import mmengine.dist
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner.amp import autocast
from torch import nn
from toy_runner import toy_cfg, train_toy

from abaw_mm.checkpoints.load import load_checkpoint_file
from abaw_mm.compat import adapt_cfg_to_cpu, cpu, init_dist
from abaw_mm.errors import LostProcessError

VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def clean_env(monkeypatch):
    """Remove the variables of all launchers; restore them and destroy the group afterwards."""
    for name in (*VARIABLES, *(n for n in os.environ if n.startswith(('SLURM_', 'OMPI_')))):
        monkeypatch.setenv(name, '')  # so that it is restored
        monkeypatch.delenv(name)
    yield monkeypatch
    if dist.is_initialized():
        dist.destroy_process_group()


def test_no_launcher_starts_no_group(clean_env):
    init_dist('none', backend='nccl')
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (
            RuntimeError(
                '[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by '
                'peer [10.0.0.2]:4242. This may indicate a remote failure'
            ),
            r"got 'Connection closed by peer \[10.0.0.2\]:4242.*other processes says why",
        ),
        (dist.DistNetworkError('Connection reset\nat frame 0'), "got 'Connection reset', expected"),
    ],
)
def test_lost_process_is_one_line(clean_env, error, line):
    with pytest.raises(LostProcessError, match=line) as raised:
        with cpu.end_process_group():
            raise error
    assert '\n' not in str(raised.value)


def test_other_errors_pass():
    error = RuntimeError('shapes do not fit')
    with pytest.raises(RuntimeError) as raised:
        with cpu.end_process_group():
            raise error
    assert raised.value is error


def count_gloo_threads():
    names = [path.read_text() for path in Path('/proc/self/task').glob('*/comm')]
    return sum('gloo_runloop' in name for name in names)


@pytest.mark.parametrize('raises', [pytest.param(False, marks=pytest.mark.slow), True])
def test_end_of_the_group_ends_its_threads(clean_env, raises):
    @cpu.end_process_group()
    def run():
        init_dist('pytorch')
        model = MMDistributedDataParallel(nn.Linear(1, 1))
        model(torch.ones(1)).backward()
        model.itself = model  # as a Runner refers to itself
        if count_gloo_threads() == 0:
            pytest.skip('needs the names of the threads of gloo')
        if raises:
            try:
                fail(model)
            except KeyError:
                raise SystemExit(143) from None

    def fail(model):
        raise KeyError('of the training')

    for name, value in zip(VARIABLES, ['0', '0', '1', '127.0.0.1', free_port()], strict=True):
        clean_env.setenv(name, value)
    with pytest.raises(SystemExit) if raises else nullcontext():
        run()
    assert not dist.is_initialized()
    assert count_gloo_threads() == 0


def test_cuda_is_left_to_mmengine(clean_env):
    clean_env.setattr(torch.cuda, 'is_available', lambda: True)
    calls = []
    clean_env.setattr(mmengine.dist, 'init_dist', lambda *args, **kw: calls.append((args, kw)))
    for name, value in zip(VARIABLES, ['0', '0', '1', '127.0.0.1', '1234'], strict=True):
        clean_env.setenv(name, value)
    init_dist('pytorch', backend='nccl', timeout=7, port=4321)  # only slurm's has a port
    assert calls == [(('pytorch',), dict(backend='nccl', timeout=7))]
    assert os.environ['MASTER_PORT'] == '4321'
    assert not dist.is_initialized()
    cfg = Config(dict(sync_bn='torch', optim_wrapper=dict(type='AmpOptimWrapper')))
    assert adapt_cfg_to_cpu(cfg, 'pytorch') is cfg


def test_launcher_without_its_variables_is_an_error(clean_env):
    with pytest.raises(ValueError, match="--launcher: got 'ssh'.*none, pytorch, slurm, mpi"):
        init_dist('ssh')
    with pytest.raises(ValueError, match='got no RANK in the environment.*torchrun'):
        init_dist('pytorch')
    for name in ('RANK', 'LOCAL_RANK', 'SIZE'):
        clean_env.setenv(f'OMPI_COMM_WORLD_{name}', '0')
    with pytest.raises(ValueError, match='got no MASTER_ADDR'):
        init_dist('mpi')


def test_mpi_starts_a_gloo_group_on_the_cpu(clean_env):
    for name, value in dict(RANK=0, LOCAL_RANK=0, SIZE=1).items():
        clean_env.setenv(f'OMPI_COMM_WORLD_{name}', str(value))
    clean_env.setenv('MASTER_ADDR', '127.0.0.1')
    clean_env.setenv('MASTER_PORT', free_port())
    init_dist('mpi', backend='nccl', timeout=60)
    assert dist.get_backend() == 'gloo' and dist.get_world_size() == 1
    assert os.environ['LOCAL_RANK'] == '0'


@pytest.mark.parametrize('given', ['nothing', 'address', 'port'])
def test_slurm_sets_the_variables_of_torch(clean_env, tmp_path, given):
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text(
        '#!/bin/sh\n[ "$*" = "show hostname node[1-2]" ] && printf "localhost\\nnode2\\n"\n'
    )
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    for name, value in dict(PROCID=0, LOCALID=0, NTASKS=1, NODELIST='node[1-2]').items():
        clean_env.setenv(f'SLURM_{name}', str(value))
    seen = {}
    clean_env.setattr(
        dist,
        'init_process_group',
        lambda backend, **kw: seen.update(
            {name: os.environ[name] for name in VARIABLES}, backend=backend, **kw
        ),
    )
    options = {}
    if given == 'address':
        clean_env.setenv('MASTER_ADDR', '10.0.0.1')
        clean_env.setenv('MASTER_PORT', '1234')
    else:
        clean_env.setenv('PATH', str(tmp_path), prepend=os.pathsep)
        if given == 'port':
            options['port'] = 4321
    init_dist('slurm', backend='nccl', timeout=5, **options)
    assert seen == dict(
        RANK='0',
        LOCAL_RANK='0',
        WORLD_SIZE='1',
        backend='gloo',
        timeout=datetime.timedelta(seconds=5),
        MASTER_ADDR='10.0.0.1' if given == 'address' else 'localhost',
        MASTER_PORT=dict(nothing='29500', address='1234', port='4321')[given],
    )


def test_slurm_without_scontrol(clean_env, tmp_path):
    for name in ('PROCID', 'LOCALID', 'NTASKS', 'NODELIST'):
        clean_env.setenv(f'SLURM_{name}', '0')
    clean_env.setenv('PATH', str(tmp_path))
    with pytest.raises(ValueError, match='`scontrol show hostname 0`.*set MASTER_ADDR'):
        init_dist('slurm')


@cpu.end_process_group()
def train_in_process(rank, port, work_dir):
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=port,
    )
    torch.set_num_threads(1)
    init_dist('pytorch', backend='nccl', timeout=60)
    assert dist.get_backend() == 'gloo' and dist.get_world_size() == 2
    cfg = toy_cfg(
        work_dir,
        launcher='pytorch',
        sync_bn='torch',
        env_cfg=dict(dist_cfg=dict(backend='nccl')),
        model_wrapper_cfg=None,
    )
    cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale=512.0)
    runner = train_toy(cfg)
    assert isinstance(runner.model, MMDistributedDataParallel)
    assert runner.model.device_ids is None and not runner.model.broadcast_buffers
    assert type(runner.optim_wrapper).__name__ == 'CPUAmpOptimWrapper'
    assert runner.model.module.dtype == torch.bfloat16
    weights = torch.cat([p.detach().flatten() for p in runner.model.parameters()])
    both = [torch.zeros_like(weights) for _ in range(2)]
    dist.all_gather(both, weights)
    assert torch.equal(*both)  # gradients were averaged: each rank saw other vectors
    dist.barrier()  # a process that exits early aborts the other


@pytest.mark.slow
def test_training_on_two_cpu_processes(tmp_path):
    mp.spawn(train_in_process, (free_port(), str(tmp_path)), nprocs=2)
    check = load_checkpoint_file(tmp_path / 'iter_2.pth')
    assert all(v.dtype != torch.bfloat16 for v in check['state_dict'].values())


def test_adapt_cfg_to_cpu():
    cfg = Config(
        dict(
            model=dict(
                backbone=dict(norm_cfg=dict(type='SyncBN', requires_grad=True)),
                necks=[dict(norm_cfg=dict(type='mmcv.SyncBN')), dict(norm_cfg=dict(type='GN'))],
                heads=({'norm': dict(type=nn.SyncBatchNorm)},),
            ),
            sync_bn='torch',
            find_unused_parameters=True,
            optim_wrapper=dict(
                type='AmpOptimWrapper',
                loss_scale='dynamic',
                dtype='float16',
                use_fsdp=False,
                optimizer=dict(type='SGD', lr=0.1),
            ),
            env_cfg=dict(
                cudnn_benchmark=True,
                dist_cfg=dict(backend='nccl', timeout=7),
                mp_cfg=dict(opencv_num_threads=0),
            ),
        )
    )
    before = cfg.to_dict()
    got = adapt_cfg_to_cpu(cfg, 'pytorch')
    assert cfg.to_dict() == before  # the caller's config is unchanged
    assert got.model.backbone.norm_cfg == dict(type='BN', requires_grad=True)
    assert [neck.norm_cfg.type for neck in got.model.necks] == ['BN', 'GN']
    assert got.model.heads[0]['norm']['type'] == 'BN'
    assert 'sync_bn' not in got
    assert got.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=True,
    )
    assert got.optim_wrapper == dict(type='CPUAmpOptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    assert got.env_cfg == dict(
        cudnn_benchmark=False,
        dist_cfg=dict(backend='gloo', timeout=7),
        mp_cfg=dict(opencv_num_threads=0),
    )
    again = adapt_cfg_to_cpu(got, 'pytorch')
    assert again.to_dict() == got.to_dict()


def test_each_change_is_logged_once(monkeypatch):
    lines = []
    monkeypatch.setattr(cpu, 'print_log', lambda line, **kwargs: lines.append(line))
    cfg = Config(
        dict(
            model=dict(norm_cfg=dict(type='SyncBN'), other=dict(type='SyncBN')),
            optim_wrapper=dict(type='AmpOptimWrapper', loss_scale=512.0),
        )
    )
    got = adapt_cfg_to_cpu(cfg, 'none')
    assert len(lines) == 2 and 'SyncBN' in lines[0] and 'loss_scale=512.0' in lines[1]
    assert 'model_wrapper_cfg' not in got
    adapt_cfg_to_cpu(Config(dict(model=dict(type='BN'))), 'none')
    assert len(lines) == 2


def test_model_wrapper_of_the_config_is_kept():
    wrapper = dict(type='MMSeparateDistributedDataParallel', broadcast_buffers=True, device_ids=[0])
    got = adapt_cfg_to_cpu(Config(dict(model_wrapper_cfg=wrapper)), 'slurm')
    assert got.model_wrapper_cfg == dict(wrapper, device_ids=None)


def test_cpu_amp_optim_wrapper():
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    wrapper = OPTIM_WRAPPERS.build(
        dict(type='CPUAmpOptimWrapper', optimizer=torch.optim.SGD(model.parameters(), lr=0.5))
    )
    x = torch.randn(8, 4)
    exact = model(x).square().mean()
    gradients = torch.autograd.grad(exact, list(model.parameters()))
    expected = [p - 0.5 * g for p, g in zip(model.parameters(), gradients, strict=True)]
    seen = []
    with wrapper.optim_context(model):
        out = model(x)
        loss = out.float().square().mean()
    out.register_hook(lambda grad: seen.append(torch.is_autocast_enabled('cpu')))
    wrapper.update_params(loss)
    assert out.dtype == torch.bfloat16 and loss.dtype == torch.float32
    assert seen == [False]  # backward runs outside autocast
    for got, want in zip(model.parameters(), expected, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, want, rtol=0.02, atol=0.01)
    # the state of a run on CUDA loads
    state = wrapper.state_dict()
    wrapper.load_state_dict(dict(state, loss_scaler=dict(scale=512.0)))


def test_fp16_of_a_test_loop_is_bfloat16_on_the_cpu():
    with autocast(enabled=True):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16
    with autocast(enabled=False):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32


def test_default_sync_bn_takes_vectors_on_the_cpu():
    from mmpretrain.models import NonLinearNeck

    adapt_cfg_to_cpu(Config(dict()), 'pytorch')
    neck = NonLinearNeck(2, hid_channels=4, out_channels=2, with_avg_pool=False)
    reference = nn.Sequential(neck.fc0, nn.BatchNorm1d(4), nn.ReLU(), neck.fc1, nn.BatchNorm1d(2))
    x = torch.randn(5, 2)
    torch.testing.assert_close(neck((x,))[0], reference(x))
    assert set(neck.state_dict()) >= {'bn0.weight', 'bn0.running_mean'}
