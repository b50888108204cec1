"""Attention maps from a config, a checkpoint and names of faces."""

import os

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from PIL import Image

from abaw_mm import compat
from abaw_mm.apis.config import load_config
from abaw_mm.apis.explain import explain

CLIP = '5-60-1920x1080-1'  # frames 1 to 8 with the labels 0 to 7
SMALL = (
    'model = dict({kind}backbone=dict(base_channels=8, stem_channels=8, num_stages=3, '
    'strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2, )), '
    'neck=dict(in_channels=32, hidden_channels=6), head=dict(in_channels={width}))\n'
)


def write(repo, tiny, folder, name='mine', base='res18_srp_affwild2_plain', **options):
    """Write a config with a small network, and a checkpoint that fits it."""
    path = folder / f'{name}.py'
    path.write_text(
        f"_base_ = ['{os.path.relpath(repo / f'configs/{base}.py', folder)}']\n"
        f'val_dataloader = dict(dataset=dict(data_root={str(tiny)!r}))\n'
        + SMALL.format(**{'width': 6 * 36, 'kind': '', **options})
    )  # 224 pixels give a 14x14 map, of which the neck keeps 6x6 cells
    torch.manual_seed(0)
    cfg = compat.adapt_cfg_to_cpu(load_config(str(path)), 'none')
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / f'{name}.pth')
    return str(path), str(folder / f'{name}.pth')


@pytest.fixture
def files(repo, tiny, tmp_path):
    return write(repo, tiny, tmp_path)


def test_clip_gives_evenly_spaced_frames_with_labels(files):
    faces = explain(*files, [CLIP], num_frames=4)
    assert [face.name for face in faces] == [f'{CLIP}/0000{n}.jpg' for n in (2, 4, 6, 8)]
    assert [face.truth for face in faces] == ['Anger', 'Fear', 'Sadness', 'Other']
    for face in faces:
        assert (
            face.predicted == face.explained == max(face.probabilities, key=face.probabilities.get)
        )
        assert sum(face.probabilities.values()) == pytest.approx(1)
        assert face.maps.cells.shape == (1, 6, 6)
    assert len(explain(*files, [CLIP, 'video11_right'])) == 8 + 2


def test_requested_class_is_explained(files):
    (face,) = explain(*files, [CLIP], 'Surprise', 1)
    assert face.explained == 'Surprise' and face.maps.classes.tolist() == [6]


def test_images_and_folders_need_no_dataset(files, tmp_path):
    folder = tmp_path / 'faces'
    folder.mkdir()
    image = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    for name in ('b.png', 'a.png', 'c.PNG'):
        Image.fromarray(image).save(folder / name)
    (folder / 'notes.txt').write_text('no image')
    faces = explain(
        *files,
        [str(folder / 'b.png'), str(folder)],
        cfg_options={'val_dataloader.dataset.data_root': 'nowhere'},
    )
    assert [face.name for face in faces] == [
        f'faces/{n}' for n in ('b.png', 'a.png', 'b.png', 'c.PNG')
    ]
    # the network sees the central 224 of 256 pixels
    np.testing.assert_array_equal(faces[0].image, image[16:240, 16:240])
    assert faces[0].truth is None


def test_frame_batches_give_the_same_maps(repo, tiny, tmp_path, files):
    fast, _ = write(repo, tiny, tmp_path, 'fast', 'res18_srp_affwild2')
    plain = explain(*files, [CLIP], num_frames=2)
    for one, other in zip(plain, explain(fast, files[1], [CLIP], num_frames=2), strict=True):
        assert (one.name, one.truth) == (other.name, other.truth)
        assert np.abs(one.image.astype(int) - other.image).mean() < 2
        torch.testing.assert_close(one.maps.cells, other.maps.cells, atol=0.05, rtol=0.1)


@pytest.mark.parametrize(
    ('sources', 'options', 'error', 'message'),
    [
        (
            ['5-60'],
            {},
            ValueError,
            "'5-60': got no such file, folder or clip.* one of the 2 clips "
            "with labelled frames .*'5-60-1920x1080-1', 'video11_right'",
        ),
        (['gone.jpg'], {}, FileNotFoundError, 'gone.jpg: got no such file or folder'),
        (['EMPTY'], {}, FileNotFoundError, 'got a folder without pictures, expected .*jpg'),
        (
            [CLIP],
            dict(class_name='Joy'),
            ValueError,
            "--class: got 'Joy', expected a class of .*: Neutral, Anger, .*Other",
        ),
        ([CLIP], dict(num_frames=0), ValueError, '--num-frames: got 0, expected at least 1'),
    ],
)
def test_wrong_arguments_are_named(files, tmp_path, sources, options, error, message):
    (tmp_path / 'empty').mkdir()
    sources = [str(tmp_path / 'empty') if source == 'EMPTY' else source for source in sources]
    with pytest.raises(error, match=message):
        explain(*files, sources, **options)


def test_damaged_image_is_named(files, tmp_path):
    (tmp_path / 'half.jpg').write_bytes(b'\xff\xd8\xff')
    with pytest.raises(ValueError, match='half.jpg: got .*, expected a whole image'):
        explain(*files, [str(tmp_path / 'half.jpg')])


def test_checkpoint_of_another_shape_names_the_tensors(repo, tiny, tmp_path, files):
    _, other = write(repo, tiny, tmp_path, 'other', width=54)
    with pytest.raises(
        ValueError,
        match=(
            r'other.pth does not fit the model: 1 tensors differ: head.fc.weight \(got \(8, 54\), '
            r'expected \(8, 216\)\)'
        ),
    ):
        explain(files[0], other, [CLIP])
    with pytest.raises(FileNotFoundError, match="CHECKPOINT='gone.pth': no such file"):
        explain(files[0], 'gone.pth', [CLIP])


def test_config_of_pretraining_is_rejected(repo, files):
    with pytest.raises(ValueError, match='got no val_dataloader.*res18_srp_affwild2.py'):
        explain(str(repo / 'configs/res18_simsiam_faces.py'), files[1], [CLIP])


def test_tool_draws_a_sheet_and_names_maps_left_out(files, tmp_path, run_tool):
    tool, out = 'visualization/attention_maps.py', tmp_path / 'maps.png'
    status, text, _ = run_tool(tool, *files, CLIP, '--num-frames', 2, '--out', out)
    assert status == 0
    with Image.open(out) as picture:
        assert picture.format == 'PNG' and min(picture.size) > 300
    assert "left out: APViT's own map" in text and f'{out}: 2 faces' in text
    assert run_tool(tool, *files, CLIP, '--out', 'maps.gif')[0] == 2
