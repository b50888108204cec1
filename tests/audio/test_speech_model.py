import json
import os
import sys

import numpy as np
import pytest
import torch

from abaw_mm.audio import Sound, speech_model
from abaw_mm.audio.speech_model import SpeechModel
from abaw_mm.errors import MissingPackageError, UserError

SMALL = dict(
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=32,
    conv_dim=[8] * 7,
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
)


@pytest.fixture
def sound():
    samples = np.random.default_rng(0).normal(0.1, 0.2, 3 * 16000 + 77)
    return Sound(samples.astype(np.float32), 0.5)


def save_model(folder, kind, head=False):
    """Write a tiny random model and return it."""
    transformers = pytest.importorskip('transformers')
    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    name = dict(wav2vec2='Wav2Vec2', hubert='Hubert', wavlm='WavLM')[kind]
    config = getattr(transformers, f'{name}Config')(**SMALL)
    model = getattr(transformers, f'{name}{"ForCTC" if head else "Model"}')(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize('kind', ['wav2vec2', 'hubert', 'wavlm'])
@pytest.mark.parametrize('head', [False, True])
def test_rows_equal_a_direct_call(tmp_path, sound, kind, head):
    model = save_model(tmp_path, kind, head)
    features, times = SpeechModel(tmp_path, layers=2, device='cpu')(sound)
    normalised = (sound.samples - sound.samples.mean()) / np.sqrt(sound.samples.var() + 1e-7)
    inner = model.base_model if head else model
    with torch.no_grad():
        states = inner(torch.from_numpy(normalised)[None], output_hidden_states=True).hidden_states
    np.testing.assert_allclose(features, torch.stack(states[-2:]).mean(0)[0], atol=1e-5)
    np.testing.assert_allclose(times, 0.5 + 0.0125 + 0.02 * np.arange(len(features)))


def test_weights_with_former_names_are_read(tmp_path, sound):
    """Published files have the names that weight normalisation had before torch 2.0."""
    save_model(tmp_path, 'wav2vec2', head=True)
    expected, _ = SpeechModel(tmp_path, layers=2, device='cpu')(sound)
    state = speech_model.load_checkpoint_file(tmp_path / 'model.safetensors')['state_dict']
    names = {'parametrizations.weight.original0': 'weight_g'}
    names['parametrizations.weight.original1'] = 'weight_v'
    for new, old in names.items():
        (key,) = [key for key in state if key.endswith(new)]
        state[key.replace(new, old)] = state.pop(key)
    (tmp_path / 'model.safetensors').unlink()
    torch.save(state, tmp_path / 'pytorch_model.bin')
    features, _ = SpeechModel(tmp_path, layers=2, device='cpu')(sound)
    np.testing.assert_allclose(features, expected, atol=1e-6)


def test_preprocessor_may_leave_samples_unchanged(tmp_path, sound):
    model = save_model(tmp_path, 'wavlm')
    settings = dict(do_normalize=False, sampling_rate=16000)
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(settings))
    extract = SpeechModel(tmp_path, layers=1, device='cpu')
    with torch.no_grad():
        expected = model(torch.from_numpy(sound.samples)[None]).last_hidden_state[0]
    np.testing.assert_allclose(extract(sound)[0], expected, atol=1e-5)
    assert extract.meta['normalise'] is False


def test_long_sounds_are_computed_in_pieces(tmp_path, monkeypatch):
    save_model(tmp_path, 'wavlm')
    extract = SpeechModel(tmp_path, device='cpu', layers=1)
    samples = np.random.default_rng(1).normal(0, 0.2, 16000 * 4).astype(np.float32)
    whole, times = extract(Sound(samples, 0))
    monkeypatch.setattr(speech_model, 'CHUNK', 60)
    monkeypatch.setattr(speech_model, 'CONTEXT', 40)
    pieces, piece_times = extract(Sound(samples, 0))
    np.testing.assert_array_equal(times, piece_times)
    assert pieces.shape == whole.shape
    for row in (5, 60, 130, 195):  # each row is closest to the same row of the whole
        distance = np.linalg.norm(whole - pieces[row], axis=1)
        assert distance.argmin() == row


class Payload:
    def __reduce__(self):
        return os.mkdir, ('executed',)


def test_wrong_folders_are_rejected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path, 'hubert')
    with pytest.raises(ValueError, match='--layers: got 4, expected 1 to 3'):
        SpeechModel(tmp_path, device='cpu')
    config = json.loads((tmp_path / 'config.json').read_text())
    weights = tmp_path / 'model.safetensors'
    state = speech_model.load_checkpoint_file(weights)['state_dict']
    weights.unlink()
    with pytest.raises(FileNotFoundError, match='got none of model.safetensors, pytorch_model'):
        SpeechModel(tmp_path, 2)
    torch.save({'a': Payload()}, tmp_path / 'pytorch_model.bin')
    with pytest.raises(UserError, match='mkdir, expected only tensors'):
        SpeechModel(tmp_path, 2)
    assert not (tmp_path / 'executed').exists()
    state.pop('encoder.layers.1.attention.k_proj.weight')
    torch.save(state, tmp_path / 'pytorch_model.bin')
    with pytest.raises(ValueError, match="without 'encoder.layers.1.attention.k_proj.weight'"):
        SpeechModel(tmp_path, 2)
    (tmp_path / 'config.json').write_text(json.dumps({**config, 'model_type': 'bert'}))
    with pytest.raises(ValueError, match="model_type 'bert', expected one of wav2vec2, hubert"):
        SpeechModel(tmp_path, 2)


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(MissingPackageError, match=r'pip install abaw_mm\[audio\]'):
        SpeechModel(tmp_path)
