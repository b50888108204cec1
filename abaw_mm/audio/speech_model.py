"""wav2vec 2.0, HuBERT and WavLM from a folder on disk, by the package transformers."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from abaw_mm.audio.sound import RATE, Sound
from abaw_mm.checkpoints.load import get_loaded_sha256, load_checkpoint_file, unwrap_state_dict
from abaw_mm.errors import InvalidValueError, MissingFileError, MissingPackageError, shorten
from abaw_mm.files import explain_damage, read_json

CONFIG, PREPROCESSOR = 'config.json', 'preprocessor_config.json'
WEIGHTS = ('model.safetensors', 'pytorch_model.bin')
KINDS = ('wav2vec2', 'hubert', 'wavlm')
UNUSED = 'masked_spec_embed'  # replaces masked inputs in training only
CHUNK, CONTEXT = 1000, 100  # rows computed at once and their neighbours on either side: 20 s, 2 s
FIX = 'copy the whole folder of the model, as its authors publish it'


class SpeechModel:
    """The mean of the last hidden layers of a speech model, per 20 ms.

    Weights are read as data; nothing is downloaded and no code of the folder runs. Long sounds are
    computed in pieces of 20 s, which see 2 s more on either side, so that memory stays bounded.

    Args:
        folder: Folder with ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``, of a
            wav2vec 2.0, HuBERT or WavLM model. ``preprocessor_config.json`` says whether sounds are
            normalised to mean 0 and variance 1; without the file they are.
        layers (int): Number of last layers to average. Defaults to 4.
        device (str): Where to compute.

    Attributes:
        dim (int): Number of features, the width of the model.
        meta (dict): Settings, for the record in a feature folder.
        sha256 (str): Checksum of the weights.

    Raises:
        ImportError: If transformers is not installed.
        FileNotFoundError: If a file is missing.
        ValueError: If the model is of another kind, the weights do not fit, or ``layers`` is out of
            range.
    """

    def __init__(self, folder: str | os.PathLike, layers: int = 4, device: str = 'cpu') -> None:
        transformers = _import_transformers()
        self.device = torch.device(device)
        settings, weights = read_json(Path(folder, CONFIG), CONFIG, FIX), _find_weights(folder)
        kind = settings.get('model_type')
        if kind not in KINDS:
            raise InvalidValueError(
                f'{Path(folder, CONFIG)}: got the model_type {kind!r}, expected one of '
                f'{", ".join(KINDS)}; give the folder of another model'
            )
        with explain_damage(Path(folder, CONFIG), 'the config of a speech model', FIX):
            config = transformers.AutoConfig.for_model(**settings)
        if not 1 <= layers <= config.num_hidden_layers:
            raise InvalidValueError(
                f'--layers: got {layers}, expected 1 to {config.num_hidden_layers}, the layers of '
                f'{folder}'
            )
        self.model = _load_model(transformers, config, weights).to(self.device)
        self.normalise = _read_normalise(Path(folder, PREPROCESSOR))
        self.layers = layers
        self.stride = int(np.prod(config.conv_stride))
        self.window = _get_window(config.conv_kernel, config.conv_stride)
        self.dim = config.hidden_size
        self.name = kind
        self.layer = f'mean of the last {layers} layers'
        self.sha256 = get_loaded_sha256(weights)
        self.meta: dict[str, Any] = dict(
            rate=RATE, layers=layers, normalise=self.normalise, chunk=CHUNK, context=CONTEXT
        )

    @torch.no_grad()
    def __call__(self, sound: Sound) -> tuple[np.ndarray, np.ndarray]:
        """Return the features (T, D) float32 and the time of each row, its window's centre."""
        samples = torch.from_numpy(sound.samples)
        if self.normalise:
            variance, mean = torch.var_mean(samples, correction=0)
            samples = (samples - mean) / torch.sqrt(variance + 1e-7)
        if len(samples) < self.window:
            samples = torch.nn.functional.pad(samples, (0, self.window - len(samples)))
        rows = 1 + (len(samples) - self.window) // self.stride
        parts = []
        for first in range(0, rows, CHUNK):
            last = min(first + CHUNK, rows)
            start, stop = max(0, first - CONTEXT), min(rows, last + CONTEXT)
            end = len(samples) if stop == rows else (stop - 1) * self.stride + self.window
            piece = samples[start * self.stride : end]
            output = self.model(piece[None].to(self.device), output_hidden_states=True)
            mean = torch.stack(output.hidden_states[-self.layers :]).mean(0)[0]
            parts.append(mean[first - start : last - start].float().cpu())
        times = sound.start + (np.arange(rows) * self.stride + self.window / 2) / RATE
        return torch.cat(parts).numpy(), times


def _import_transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingPackageError(
            f'transformers cannot be imported ({error}), expected it for --feature speech; run '
            'pip install abaw_mm[audio]'
        ) from error
    transformers.logging.set_verbosity_error()  # its report of weights; errors are raised here
    transformers.logging.disable_progress_bar()
    return transformers


def _find_weights(folder: str | os.PathLike) -> Path:
    for name in WEIGHTS:
        if Path(folder, name).is_file():
            return Path(folder, name)
    raise MissingFileError(f'{folder}: got none of {", ".join(WEIGHTS)}, expected one; {FIX}')


def _read_normalise(path: Path) -> bool:
    if not path.is_file():
        return True
    settings = read_json(path, PREPROCESSOR, FIX)
    rate = settings.get('sampling_rate', RATE)
    if rate != RATE:
        raise InvalidValueError(
            f'{path}: got the sampling_rate {rate!r}, expected {RATE}; give another model'
        )
    return bool(settings.get('do_normalize', True))


def _load_model(transformers: Any, config: Any, weights: Path) -> torch.nn.Module:
    """Build the model and load its weights, which may be those of a model with a head."""
    state = unwrap_state_dict(load_checkpoint_file(weights))
    model_class = transformers.AutoModel._model_mapping[type(config)]
    with explain_damage(weights, f'weights of {config.model_type}', FIX):
        model, report = model_class.from_pretrained(
            None, config=config, state_dict=state, output_loading_info=True
        )
    lost = sorted(name for name in report['missing_keys'] if not name.endswith(UNUSED))
    if lost or report['mismatched_keys']:
        raise InvalidValueError(
            f'{weights}: got weights without {shorten(lost)} of the model, expected all of '
            f'{config.model_type}; {FIX}'
        )
    return model.eval()


def _get_window(kernels: list[int], strides: list[int]) -> int:
    """Return the number of samples that one row depends on before the transformer.

    >>> _get_window([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2])
    400
    """
    window = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        window = (window - 1) * stride + kernel
    return window
