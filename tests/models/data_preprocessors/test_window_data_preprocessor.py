"""WindowDataPreprocessor: invalid batches; valid ones are tested with TemporalClassifier."""

import pytest
import torch

from abaw_mm.models import WindowDataPreprocessor


def test_batch_of_images_raises():
    with pytest.raises(ValueError, match=r"got a batch with \['inputs'\].*ClipFeatureDataset"):
        WindowDataPreprocessor()(dict(inputs=torch.zeros(1, 3, 4, 4)))
