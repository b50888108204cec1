"""Run the commands of the guides, word for word, on small data and with small networks."""

import importlib.util
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from compose_video import compose, draw_faces, stay, write_video
from conftest import write_features
from mmpretrain.registry import MODELS
from PIL import Image
from small_onnx import write_onnx

from abaw_mm.apis.config import load_config

REPO = Path(__file__).parents[1]
# Pages whose commands tests of their own run, with an oracle for what they write.
ELSEWHERE = ('pretraining', 'submission', 'tracks', 'video', 'winning')
# Pages that record runs: command, machine, data, figures.
RECORDS = ('performance', 'results')
# Starts of the commands that no test runs as they are.
NOT_RUN = {
    'pip install ': 'needs package servers; docs/logs/installation has recorded installations',
    'bash tools/quickstart.sh': 'installs everything; docs/logs/installation has recorded runs',
    'bash tools/run_tests.sh': 'would start this test',
    'NNODES=2 ': 'needs two machines',
    'GPUS=8 ': 'needs Slurm; tests/faults/test_slurm_requeue.py replaces its commands',
    'bash tools/dist_train.sh docs/logs/': 'is a recorded run',
    'python tools/visualization/attention_maps.py docs/logs/': 'is a recorded run',
}
SPEED = """
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
"""
SMALL = {  # networks of the configs that the guides name
    'res18_srp_affwild2': 'backbone=dict(base_channels=8, stem_channels=8), '
    'neck=dict(in_channels=64)',
    'res50_srp_affwild2': 'backbone=dict(base_channels=8, stem_channels=8), '
    'neck=dict(in_channels=256)',
    'temporal_tcn_affwild2': 'backbone=dict(channels=8), head=dict(in_channels=8)',
    'gated_av_affwild2': 'backbone=dict(in_channels=dict(video=2304, audio=16))',
}
ADDED = {  # flags that make a command small
    'cross_validate.py': '--folds 2',
    'reproduce_tables.py': '--tables 2 --rows res18_gap --budget mini --seeds 1 --nproc 1 '
    '--cfg-options train_cfg.max_iters=2 train_cfg.val_interval=2 '
    'default_hooks.checkpoint.interval=2',
}
NEEDS = {'timm:': 'timm', '--feature speech': 'transformers'}  # packages that tests do not need
INSTALLED = {name for name in NEEDS.values() if importlib.util.find_spec(name)}
REPLACED = {  # what a reader replaces, and large networks
    'CONFIG': 'configs/res50_srp_affwild2.py',
    'TCN_CHECKPOINT': 'work_dirs/temporal_tcn_affwild2/iter_2.pth',
    'VIDEOS': 'data/affwild2/videos',
    'WAV2VEC2_LARGE': 'weights/wav2vec2-base',
    'CLIP': 'video5',  # of the validation set
    'IN': 'weights/r18.pth',
    'OUT': 'OUT.pth',
    'timm:vit_large_patch14_dinov2': 'timm:test_vit',
}


def read_commands(page: Path) -> list[str]:
    """Return the commands of a page, each as one line without comments."""
    blocks = re.findall(r'^```bash\n(.*?)^```', page.read_text(), re.S | re.M)
    lines = ''.join(blocks).replace('\\\n', ' ').splitlines()
    lines = [re.sub(r'\s#.*| \[[^]]*\]', '', f' {line}').split() for line in lines]
    return [' '.join(words) for words in lines if words]


def is_run(command: str) -> bool:
    return not command.startswith(tuple(NOT_RUN))


GUIDES = sorted(
    page.stem
    for page in (REPO / 'docs').glob('*.md')
    if page.stem not in (*ELSEWHERE, *RECORDS) and any(map(is_run, read_commands(page)))
)


def test_every_command_is_run_or_has_a_reason():
    """Those of the README are on other pages, each page is in one list, and no reason is stale."""
    docs = REPO / 'docs'
    commands = {page.stem: read_commands(page) for page in docs.glob('*.md')}
    everywhere = {command for some in commands.values() for command in some}
    readme = read_commands(REPO / 'README.md')
    assert [c for c in readme if is_run(c) and c not in everywhere] == []
    for start in NOT_RUN:
        assert any(command.startswith(start) for command in everywhere | set(readme)), start
    for page in GUIDES:
        for command in filter(is_run, commands[page]):
            known = re.match(r'(python|bash) (tools|demo)/|abaw-mm |\w+=\S+$', command)
            assert known, f'docs/{page}.md: got {command!r}, expected a command of tools/'


@pytest.fixture
def place(tmp_path, monkeypatch, load_tool) -> Path:
    """Go to a folder with the data, the configs and the checkpoints that the guides name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(REPO))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('PATH', f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
    monkeypatch.syspath_prepend(REPO / 'demo')
    (tmp_path / 'tools').symlink_to(REPO / 'tools')
    (tmp_path / 'configs').mkdir()
    for name, network in SMALL.items():
        text = f"_base_ = ['abaw_mm::{name}.py']\n{SPEED}model = dict({network})\n"
        (tmp_path / f'configs/{name}.py').write_text(text)
    sizes = '--train-clips 4 --val-clips 2 --test-clips 1 --frames 80 --size 112'
    load_tool('../demo/make_demo_sound.py').main(['data/affwild2', *sizes.split()])
    for name in ('res18_srp_affwild2', 'res50_srp_affwild2'):
        torch.manual_seed(0)
        model = MODELS.build(load_config(f'configs/{name}.py').model)
        model.head.fc.weight.data *= 1000  # confident: pseudo-labels need a probability of 0.9
        torch.save(dict(state_dict=model.state_dict(), meta={}), f'{name}.pth')
    torch.save(model.backbone.state_dict(), 'SSL.pth')
    return tmp_path


def prepare_attention_maps() -> None:
    shutil.copytree('data/affwild2/cropped_aligned/video6', 'folder')
    shutil.copy('folder/00001.jpg', 'face.jpg')


def prepare_checkpoints() -> None:
    Path('weights').mkdir()
    for depth in (18, 50):
        model = MODELS.build(dict(type='ResNet', depth=depth))
        torch.save(model.state_dict(), f'weights/r{depth}.pth')


def prepare_features() -> None:
    write_onnx(Path('enet_b0_8_best_vgaf.onnx'), size=224)
    if 'timm' in INSTALLED:
        model = importlib.import_module('timm').create_model('test_vit', img_size=224)
        importlib.import_module('safetensors.torch').save_model(model, 'dinov2_l.safetensors')
    write_features(Path('features/res50_srp_affwild2'), Path('data/affwild2'))
    Path('batch1').symlink_to('data/affwild2/videos')
    Path('batch2').mkdir()
    write_speech_model()
    for split in ('train', 'val'):  # what others wrote: keys to rows
        rows = {f'{split}/{number:05d}.jpg': np.full(6, number, np.float32) for number in (1, 2)}
        Path(f'{split}.pickle').write_bytes(pickle.dumps(rows))


def prepare_fusion() -> None:
    write_speech_model()
    if 'transformers' not in INSTALLED:
        write_features(Path('features/wav2vec2_large'), Path('data/affwild2'), dim=16)


def write_speech_model() -> None:
    if 'transformers' in INSTALLED:
        transformers = importlib.import_module('transformers')
        config = transformers.Wav2Vec2Config(
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=32,
            conv_dim=[8] * 7,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2,
        )
        transformers.Wav2Vec2Model(config).save_pretrained('weights/wav2vec2-base')


def prepare_images() -> None:
    shutil.copytree('data/affwild2/cropped_aligned/video6', 'crops')
    photo = Image.fromarray(compose(draw_faces(1), [stay(1, 160, 120, 120)]).images[0])
    Path('photos').mkdir()
    for path in ('photo.jpg', 'photos/other.jpg'):
        photo.save(path)


def prepare_onnx() -> None:
    prepare_images()
    shutil.copytree('crops', 'crops_of_training_clips')
    scene = compose(draw_faces(2, seed=1), [stay(8, 80, 120, 120), stay(8, 230, 120, 140)])
    write_video(Path('talk.mp4'), scene.images)


def prepare_report() -> None:
    Path('seed0.npz').symlink_to('validation.npz')  # which the first command writes
    Path('seed1.npz').symlink_to('validation.npz')


prepare_reproducing = prepare_checkpoints


@pytest.mark.slow
@pytest.mark.parametrize('page', GUIDES)
def test_commands_of_a_guide_run(page, place, run_tool, monkeypatch):
    globals().get(f'prepare_{page}', dict)()
    for command in filter(is_run, read_commands(REPO / f'docs/{page}.md')):
        if any(part in command and name not in INSTALLED for part, name in NEEDS.items()):
            continue
        words = [os.path.expandvars(REPLACED.get(word, word)) for word in shlex.split(command)]
        config = next((Path(word).stem for word in words if word.startswith('configs/')), '')
        words = [f'{config}.pth' if word == 'CHECKPOINT' else word for word in words]
        words = [str(next(Path().glob(word))) if '*' in word else word for word in words]
        if len(words) == 1:
            monkeypatch.setenv(*words[0].split('='))
            continue
        if words[0] != 'python':
            done = subprocess.run(
                words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            assert done.returncode == 0, f'{command}\n{done.stdout[-3000:]}'
        else:
            words += shlex.split(ADDED.get(Path(words[1]).name, ''))
            status, _, error = run_tool(f'../{words[1]}', *words[2:])
            assert not status, f'{command}\n{error}'
        if '--out' in words:
            assert Path(words[words.index('--out') + 1]).exists(), command
