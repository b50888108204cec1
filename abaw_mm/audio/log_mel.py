"""Log-mel energies of a sound."""

from typing import Any

import numpy as np
import torch

from abaw_mm.audio.sound import RATE, Sound

WINDOW, HOP = 400, 160  # samples: 25 ms and 10 ms
NUM_MELS = 80
FLOOR = 1e-6  # added to energies before the logarithm
CHUNK = 1 << 13  # windows transformed at once; bounds the memory


class LogMel:
    """Logarithm of the energies in 80 mel bands from 0 to 8 kHz, per 10 ms.

    The power spectrum of a Hann window of 25 ms, summed by triangles on the mel scale
    2595 log10(1 + f / 700) of O'Shaughnessy (1987), which HTK uses; natural logarithm. The windows
    begin with the sound: nothing is padded.

    Attributes:
        dim (int): Number of features, 80.
        meta (dict): Settings, for the record in a feature folder.
    """

    name = 'logmel'
    sha256 = ''  # no weights
    layer = 'log mel energies'

    def __init__(self) -> None:
        self.dim = NUM_MELS
        self.meta: dict[str, Any] = dict(rate=RATE, window=WINDOW, hop=HOP, floor=FLOOR)
        self._filters = torch.from_numpy(make_mel_filters().astype(np.float32))
        self._window = torch.hann_window(WINDOW)

    def __call__(self, sound: Sound) -> tuple[np.ndarray, np.ndarray]:
        """Return the features (T, 80) float32 and the time of each row, its window's centre."""
        samples = torch.from_numpy(sound.samples)
        if len(samples) < WINDOW:
            samples = torch.nn.functional.pad(samples, (0, WINDOW - len(samples)))
        rows = 1 + (len(samples) - WINDOW) // HOP
        parts = []
        for first in range(0, rows, CHUNK):
            last = min(first + CHUNK, rows)
            piece = samples[first * HOP : (last - 1) * HOP + WINDOW]
            spectrum = torch.stft(
                piece, WINDOW, HOP, window=self._window, center=False, return_complex=True
            )
            parts.append(torch.log(self._filters @ spectrum.abs().square() + FLOOR).T)
        times = sound.start + (np.arange(rows) * HOP + WINDOW / 2) / RATE
        return torch.cat(parts).numpy(), times


def make_mel_filters(
    num_mels: int = NUM_MELS, window: int = WINDOW, rate: int = RATE
) -> np.ndarray:
    """Return the weights of the frequencies of a spectrum in each band, (num_mels, window / 2 + 1).

    Each band is a triangle in Hz. It rises from the centre of the band below and falls to the
    centre of the band above; the height is 1.
    """
    frequency = np.linspace(0, rate / 2, window // 2 + 1)
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, num_mels + 2) / 2595) - 1)
    rise = (frequency - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - frequency) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rise, fall))
