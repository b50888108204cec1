"""Features of crops by an encoder, from folders and from a store of packed crops."""

import json

import numpy as np
import pytest
from conftest import write_clip
from small_onnx import write_onnx

from abaw_mm.apis import encode_crops
from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.datasets.crops.load_face_crop import read_crop
from abaw_mm.models.encoders import ViewAverage, build_encoder

CONFIG = 'configs/res18_srp_demo.py'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Crops of two clips and a small network."""
    root = tmp_path_factory.mktemp('encode')
    write_clip(root / 'data', 'Train_Set', 'b_left', [0, 1, -1, 2, 3, -1, 5], missing=(2,), size=20)
    write_clip(root / 'data', 'Validation_Set', 'c', [-1, 1, 2], size=24)
    write_onnx(root / 'face.onnx')
    return root


def list_options(root, **dataset):
    options = {f'{name}.dataset.data_root': str(root / 'data') for name in LOADERS}
    options.update({f'{name}.num_workers': 0 for name in LOADERS})
    for key, value in dataset.items():
        options.update({f'{name}.dataset.{key}': value for name in LOADERS})
    return options


def encode(made, repo, out, **options):
    return encode_crops(
        str(repo / CONFIG),
        f'onnx:{made / "face.onnx"}',
        str(made / out),
        output='penultimate',
        batch_size=2,
        work_dir=str(made / 'log'),
        **{'cfg_options': list_options(made), **options},
    )


def test_features_equal_a_direct_call_on_the_same_pixels(made, repo):
    folder = encode(made, repo, 'out', scales=[1, 0.8], mirror=True)
    encoder = build_encoder(f'onnx:{made / "face.onnx"}', output='penultimate')
    views = ViewAverage(encoder, [1, 0.8], True)
    crops = CropFolder(made / 'data/cropped_aligned')
    for clip, numbers in (('b_left', [1, 3, 4, 5, 6, 7]), ('c', [1, 2, 3])):
        assert folder.frame_numbers(clip).tolist() == numbers
        expected = views([read_crop(crops.path(clip, number)) for number in numbers])
        np.testing.assert_array_equal(folder.read(clip), expected.astype(np.float16))
    meta = json.loads((folder.path / 'meta.json').read_text())
    assert (meta['config'], meta['layer'], meta['dim']) == ('onnx:face', 'features', 5)
    assert meta['sha256'] == encoder.sha256
    assert meta['data_preprocessor']['scales'] == [1, 0.8]
    assert meta['data_preprocessor']['size'] == [16, 16]


def test_packed_crops_give_the_same_features(made, repo, run_tool):
    pytest.importorskip('lmdb')
    folder = encode(made, repo, 'plain')
    status, *_ = run_tool(
        'dataset_converters/pack_affwild2.py',
        made / 'data/cropped_aligned',
        made / 'data/packed.lmdb',
    )
    assert status == 0
    packed = encode(made, repo, 'packed', cfg_options=list_options(made, data_prefix='packed.lmdb'))
    for clip in ('b_left', 'c'):
        np.testing.assert_array_equal(folder.read(clip), packed.read(clip))


def test_other_views_need_another_folder(made, repo):
    encode(made, repo, 'views')
    with pytest.raises(ValueError, match='--out .*data_preprocessor: the folder has'):
        encode(made, repo, 'views', mirror=True)


def test_tool_takes_a_checkpoint_or_an_encoder(made, repo, run_tool):
    config, tool = repo / CONFIG, 'extract_features.py'
    options = [f'{key}={value}' for key, value in list_options(made).items()]
    flags = ['--out', made / 'tool', '--work-dir', made / 'log', '--batch-size', 2]
    encoder = ['--encoder', f'onnx:{made / "face.onnx"}', '--output', 'penultimate']
    status, _, err = run_tool(tool, config, *encoder, *flags, '--cfg-options', *options)
    assert status == 0, err
    folder = encode(made, repo, 'plain')
    for clip in ('b_left', 'c'):
        assert (made / f'tool/clips/{clip}.npy').read_bytes() == (
            folder.array_path(clip).read_bytes()
        )
    for wrong, message in (
        ([], 'got CHECKPOINT and --encoder, or neither'),
        (['a.pth', *encoder], 'got CHECKPOINT and --encoder, or neither'),
        (['a.pth', '--mirror'], '--mirror: got a value, but it belongs to --encoder'),
        ([*encoder, '--layer', 'neck'], '--layer: got a value, but it belongs to CHECKPOINT'),
    ):
        status, _, err = run_tool(tool, config, *wrong, *flags)
        assert status == 2 and message in err
