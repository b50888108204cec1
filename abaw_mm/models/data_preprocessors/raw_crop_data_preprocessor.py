"""Data preprocessor that leaves the crops of ``collate_frames`` as they are."""

from mmengine.model import BaseDataPreprocessor
from mmpretrain.registry import MODELS

from abaw_mm.models.data_preprocessors.frame_data_preprocessor import check_frame_batch
from abaw_mm.structures import FrameBatch


@MODELS.register_module()
class RawCropDataPreprocessor(BaseDataPreprocessor):
    """Pass on the crops of a batch in RGB, for a network that contains its preprocessing."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare the network's input.

        Args:
            data (dict): Batch of ``collate_frames``.
            training (bool): Not used.

        Returns:
            dict: ``inputs`` (N, H, W, 3) uint8 RGB, and ``data_samples``, a list of one
            ``FrameBatch``.

        Raises:
            ValueError: If ``collate_frames`` did not make the batch.
        """
        check_frame_batch(data, type(self).__name__)
        columns = self.cast_data({k: v for k, v in data.items() if k not in ('clips', 'key')})
        crops = columns.pop('inputs').flip(-1)
        return dict(
            inputs=crops,
            data_samples=[FrameBatch(metainfo=dict(clips=data['clips']), **columns)],
        )
