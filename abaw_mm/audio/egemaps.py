"""eGeMAPS descriptors of a sound, by the package opensmile."""

from typing import Any

import numpy as np

from abaw_mm.audio.sound import RATE, Sound
from abaw_mm.errors import MissingPackageError


class Egemaps:
    """The 25 low-level descriptors of eGeMAPSv02 (Eyben et al. 2016), per 10 ms.

    Loudness, spectral slopes, MFCC 1 to 4, pitch, jitter, shimmer, harmonics and formants.
    opensmile's licence does not permit commercial use.

    Attributes:
        dim (int): Number of features, 25.
        meta (dict): Settings, for the record in a feature folder.

    Raises:
        ImportError: If opensmile is not installed.
    """

    name = 'egemaps'
    sha256 = ''  # no weights
    layer = 'low-level descriptors'

    def __init__(self) -> None:
        opensmile = _import_opensmile()
        self._smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02,
            feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
        )
        self.dim = len(self._smile.feature_names)
        self.meta: dict[str, Any] = dict(rate=RATE, opensmile=opensmile.__version__)

    def __call__(self, sound: Sound) -> tuple[np.ndarray, np.ndarray]:
        """Return the features (T, 25) float32 and the time of each row, its window's centre."""
        samples = np.pad(sound.samples, (0, max(0, RATE // 5 - len(sound.samples))))
        table = self._smile.process_signal(samples, RATE)
        start, end = (table.index.get_level_values(n).total_seconds() for n in ('start', 'end'))
        times = sound.start + (start.to_numpy() + end.to_numpy()) / 2
        return table.to_numpy(np.float32), times


def _import_opensmile() -> Any:
    try:
        import opensmile
    except ImportError as error:
        raise MissingPackageError(
            f'opensmile cannot be imported ({error}), expected it for --feature egemaps; run '
            'pip install opensmile (its licence does not permit commercial use)'
        ) from error
    return opensmile
