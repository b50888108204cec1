"""Checkpoint files load or are refused, and mmengine has no other way to load them."""

import functools
import hashlib
import http.server
import os
import pickle
import threading
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from hostile import save_hostile
from mmengine.dist import get_rank
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner import checkpoint as mmengine_checkpoint
from toy_runner import toy_cfg, train_toy

from abaw_mm.checkpoints import (
    UnsafeCheckpointError,
    check_checkpoint_path,
    load_checkpoint_file,
    unwrap_state_dict,
)
from abaw_mm.checkpoints.load import get_loaded_sha256
from abaw_mm.errors import InvalidValueError


def save(content, path, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path.read_bytes()


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('cut', [lambda n: n // 2, lambda n: n - 10, lambda n: 20])
def test_truncated_file_is_refused(tmp_path, zipped, cut):
    path = tmp_path / 'bad.pth'
    content = save(dict(w=torch.ones(1000)), path, zipped)
    path.write_bytes(content[: cut(len(content))])
    match = 'bad.pth: got a truncated checkpoint' if zipped else 'bad.pth'
    with pytest.raises((ValueError, UnsafeCheckpointError), match=match):
        load_checkpoint_file(path)


@pytest.mark.parametrize(
    'content, match',
    [
        (b'', r'bad\.pth: got an empty file.*again'),
        (b'<html>404</html>', "begins with b'<htm'.*torch.save"),
    ],
)
def test_other_file_is_refused(tmp_path, content, match):
    (tmp_path / 'bad.pth').write_bytes(content)
    with pytest.raises(ValueError, match=match):
        load_checkpoint_file(tmp_path / 'bad.pth')


def test_file_without_a_checkpoint_is_refused(tmp_path):
    path = tmp_path / 'bad.pth'
    for missing in (path, tmp_path):
        with pytest.raises(FileNotFoundError, match='got no such file'):
            load_checkpoint_file(missing)
    save(torch.ones(1), path)
    with pytest.raises(ValueError, match='got a file with a Tensor, expected a dict'):
        load_checkpoint_file(path)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('readme.txt', 'not a checkpoint')
    with pytest.raises(ValueError, match=r'torch\.load cannot read'):
        load_checkpoint_file(path)


def test_missing_checkpoint_path_is_named(tmp_path, monkeypatch):
    (tmp_path / 'a.pth').touch()
    for given in (None, '', 'https://example.org/a.pth', str(tmp_path / 'a.pth')):
        check_checkpoint_path(given)
    with pytest.raises(FileNotFoundError, match="checkpoint='gone.pth': .* top of the config"):
        check_checkpoint_path('gone.pth')
    with pytest.raises(FileNotFoundError, match="CHECKPOINT='gone.pth': .*; correct the path$"):
        check_checkpoint_path('gone.pth', 'CHECKPOINT')
    monkeypatch.setenv('HOME', str(tmp_path))
    check_checkpoint_path('~/a.pth')
    with pytest.raises(InvalidValueError, match=r"checkpoint=\['a', 'b.pth'\]: expected the path"):
        check_checkpoint_path(['a', 'b.pth'])  # an override with a comma


def test_unwrap_state_dict():
    w = torch.ones(1)
    for checkpoint in (
        dict(state_dict={'module.fc.weight': w, 'name': 'a'}, epoch=3),
        {'fc.weight': w, 'epoch': 3},
    ):
        assert unwrap_state_dict(checkpoint) == {'fc.weight': w}


def test_safetensors_load_with_their_metadata(tmp_path):
    tensors = {f'layer{i}.weight': torch.full((3, 4), float(i)) for i in range(4)}
    path = tmp_path / 'a.safetensors'
    safetensors.torch.save_file(tensors, path, metadata=dict(source='moco'))
    found = load_checkpoint_file(path)
    assert found['meta'] == dict(source='moco')
    assert found['state_dict'].keys() == tensors.keys()
    assert all(torch.equal(found['state_dict'][k], v) for k, v in tensors.items())
    # recognized by its content, and loaded by mmengine as well
    (tmp_path / 'a.pth').write_bytes(path.read_bytes())
    for load in (load_checkpoint_file, CheckpointLoader.load_checkpoint):
        assert load(str(tmp_path / 'a.pth'))['state_dict'].keys() == tensors.keys()
    safetensors.torch.save_file(tensors, path)
    assert load_checkpoint_file(path, map_location=None)['meta'] == {}
    whole = path.read_bytes()
    for cut in (4, 8, 9, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r'a\.safetensors: got a damaged file .*copy'):
            load_checkpoint_file(path)
    torch.save(tensors, path)  # a pickle with this suffix is not read as a pickle
    with pytest.raises(ValueError, match='safetensors says'):
        load_checkpoint_file(path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a folder; yields its address, the folder and the list of requested paths."""
    folder, requested = tmp_path / 'www', []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            requested.append(self.path)

    httpd = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), functools.partial(Handler, directory=str(folder))
    )
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    yield f'http://127.0.0.1:{httpd.server_port}', folder, requested
    httpd.shutdown()
    httpd.server_close()


def test_url_is_downloaded_once(server, tmp_path):
    url, folder, requested = server
    save(dict(w=torch.ones(2)), folder / 'good.pth')
    for load in (
        load_checkpoint_file,
        CheckpointLoader.load_checkpoint,
        mmengine_checkpoint.load_from_http,
    ):
        assert load(f'{url}/good.pth')['w'].sum() == 2
    assert len(requested) == 4  # one GET, and one HEAD for each load
    assert len(list((tmp_path / 'hub/checkpoints').glob('*/good.pth'))) == 1
    with pytest.raises(OSError, match=r'gone\.pth: got .*404.*correct the address'):
        load_checkpoint_file(f'{url}/gone.pth')
    (folder / 'empty.pth').write_bytes(b'')
    with pytest.raises(ValueError, match=r'delete .*empty\.pth and run'):
        load_checkpoint_file(f'{url}/empty.pth')


@pytest.fixture
def save_at(server):
    """Save a number under a name on the server, with a date of change."""
    url, folder, _ = server

    def save_number(name, number, date):
        save(dict(w=torch.tensor(float(number))), folder / name)
        os.utime(folder / name, (date, date))
        return f'{url}/{name}'

    return save_number


def test_addresses_with_the_same_last_part_have_their_own_downloads(save_at):
    base = save_at('uc', 1, 1e9)
    assert load_checkpoint_file(f'{base}?id=a')['w'] == 1
    save_at('uc', 2, 1e9)  # same date and size
    assert load_checkpoint_file(f'{base}?id=b')['w'] == 2
    assert load_checkpoint_file(f'{base}?id=a')['w'] == 1


def test_changed_file_is_downloaded_again(save_at, logged_warnings):
    url = save_at('a.pth', 1, 1e9)
    assert load_checkpoint_file(url)['w'] == 1
    first = get_loaded_sha256(url)
    assert not logged_warnings
    save_at('a.pth', 2, 1.1e9)
    assert get_loaded_sha256(url) == first  # what was loaded, not what the server sends now
    assert load_checkpoint_file(url)['w'] == 2
    assert get_loaded_sha256(url) not in (first, '')
    assert 'the file has changed since its last download' in logged_warnings[0]


def test_newest_download_is_used_if_the_server_does_not_answer(
    save_at, server, monkeypatch, logged_warnings
):
    url = save_at('a.pth', 1, 1e9)
    load_checkpoint_file(url)
    save_at('a.pth', 2, 1.1e9)
    load_checkpoint_file(url)
    (server[1] / 'a.pth').unlink()
    assert load_checkpoint_file(url)['w'] == 2
    assert 'cannot be asked whether the file has changed (HTTP Error 404' in logged_warnings[-1]


def load_on_rank(url, number, hub):
    torch.hub.set_dir(f'{hub}_{get_rank()}')  # as on two machines
    assert load_checkpoint_file(url)['w'] == number


@pytest.mark.slow
def test_ranks_use_the_version_of_rank_0(save_at, tmp_path, run_distributed):
    url = save_at('a.pth', 1, 1e9)
    run_distributed(load_on_rank, url, 1, str(tmp_path / 'cache'))
    names = [
        sorted(p.relative_to(c) for p in c.glob('checkpoints/*/a.pth'))
        for c in tmp_path.glob('cache_*')
    ]
    assert len(names) == 2 and names[0] == names[1] and len(names[0]) == 1


@pytest.mark.parametrize('zipped', [True, False])
def test_checksum_is_that_of_the_bytes_that_were_loaded(tmp_path, zipped):
    path = tmp_path / 'a.pth'
    assert get_loaded_sha256(path) == ''
    content = save(dict(w=torch.ones(1)), path, zipped)
    load_checkpoint_file(path)
    save(dict(w=torch.zeros(1)), path, zipped)
    assert get_loaded_sha256(str(path)) == hashlib.sha256(content).hexdigest()
    safetensors.torch.save_file(dict(w=torch.ones(1)), path)
    load_checkpoint_file(path)
    assert get_loaded_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_flipped_bits_never_change_weights_in_silence(tmp_path, count_flips):
    path = tmp_path / 'a.pth'
    weights = dict(w=torch.randn(40, 50), b=torch.arange(10))
    save(dict(state_dict=weights, meta=dict(epoch=1)), path)

    def is_same(path):
        found = load_checkpoint_file(path)
        return found['meta'] == dict(epoch=1) and all(
            torch.equal(found['state_dict'][name], value) for name, value in weights.items()
        )

    refused, _, different = count_flips(path, is_same)
    assert different == 0 and refused > 150


def test_checkpoint_without_checksums_loads(tmp_path):
    if not hasattr(torch.serialization, 'set_crc32_options'):
        pytest.skip('this torch always writes checksums')
    torch.serialization.set_crc32_options(False)
    try:
        save(dict(w=torch.ones(3)), tmp_path / 'a.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_checkpoint_file(tmp_path / 'a.pth')['w'].sum() == 3


def test_hostile_download_is_refused(server, tmp_path, monkeypatch):
    url, folder, _ = server
    match = save_hostile(folder / 'bad.pth', 'os.system', tmp_path / 'was_run')
    known = dict(a=f'{url}/bad.pth')
    monkeypatch.setattr(mmengine_checkpoint, 'get_torchvision_models', lambda: known)
    for load, name in (
        (load_checkpoint_file, f'{url}/bad.pth'),
        (CheckpointLoader.load_checkpoint, f'{url}/bad.pth'),
        (CheckpointLoader.load_checkpoint, 'torchvision://a'),
    ):
        with pytest.raises(UnsafeCheckpointError, match=match):
            load(name)
    assert not (tmp_path / 'was_run').exists()


def test_mmengine_has_no_other_way_to_load(tmp_path, monkeypatch):
    path, sentinel = tmp_path / 'bad.pth', tmp_path / 'was_run'
    save_hostile(path, 'os.system', sentinel)
    runner = Runner.from_cfg(toy_cfg(tmp_path / 'run', iters=2))
    for load in (runner.load_checkpoint, runner.resume):
        with pytest.raises(UnsafeCheckpointError):
            load(str(path))

    class Store:
        """A store for the schemes that load_checkpoint_file does not know."""

        def get(self, name):
            return path.read_bytes()

    monkeypatch.setattr(mmengine_checkpoint, 'get_file_backend', lambda *args, **kwargs: Store())
    with pytest.raises(pickle.UnpicklingError):
        CheckpointLoader.load_checkpoint('s3://bucket/bad.pth', 'cpu')
    with pytest.raises(pickle.UnpicklingError):
        mmengine_checkpoint.torch.load(str(path), **{'weights_' + 'only': False})
    from mmpretrain.engine.hooks import swav_hook

    with pytest.raises(pickle.UnpicklingError):
        swav_hook.torch.load(str(path))
    assert not sentinel.exists()


def test_runner_resumes_its_own_checkpoint(tmp_path):
    whole = train_toy(toy_cfg(tmp_path / 'whole', iters=4, randomness=dict(seed=0)))
    path = tmp_path / 'whole/iter_2.pth'
    state = load_checkpoint_file(path)
    assert isinstance(state['message_hub']['log_scalars']['train/loss'], HistoryBuffer)
    assert state['param_schedulers'][0]['anneal_func'] is OneCycleParamScheduler._annealing_cos
    options = dict(iters=4, randomness=dict(seed=0), resume=True, load_from=str(path))
    resumed = train_toy(toy_cfg(tmp_path / 'parts', **options))
    assert resumed.iter == 4
    for name in ('train/loss', 'train/lr'):  # the first two of four are from the file
        logs = [runner.message_hub.get_scalar(name).data[0] for runner in (whole, resumed)]
        assert len(logs[0]) == 4 and len(set(logs[0])) == 4
        np.testing.assert_allclose(*logs, rtol=1e-5)
    for key, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[key], value)


def test_config_in_a_checkpoint_is_not_run(tmp_path, monkeypatch):
    """``Runner.resume`` runs ``meta['config']``, so every way of loading removes it."""
    train_toy(toy_cfg(tmp_path, iters=2))
    path, sentinel = tmp_path / 'iter_2.pth', tmp_path / 'was_run'
    state = load_checkpoint_file(path)
    state['meta']['config'] = state['meta']['cfg'] = f'open({str(sentinel)!r}, "w").close()'
    content = save(state, path)
    train_toy(toy_cfg(tmp_path, iters=3, resume=True, load_from=str(path)))

    class Store:
        def get(self, name):
            return content

    monkeypatch.setattr(mmengine_checkpoint, 'get_file_backend', lambda *args, **kwargs: Store())
    assert 'config' not in CheckpointLoader.load_checkpoint('s3://bucket/a.pth', 'cpu')['meta']
    metadata = dict(config=state['meta']['config'])
    safetensors.torch.save_file(dict(w=torch.ones(1)), tmp_path / 'a.safetensors', metadata)
    assert load_checkpoint_file(tmp_path / 'a.safetensors')['meta'] == {}
    assert not sentinel.exists()
