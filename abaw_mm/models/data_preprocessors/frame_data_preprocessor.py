"""From a worker's bytes to the network's input, a batch at once, where the model is."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from mmpretrain.registry import MODELS

from abaw_mm.datasets.samplers.keyed_random import uniform
from abaw_mm.models.data_preprocessors.batch_crops import (
    MAX_ATTEMPTS,
    crop_and_resize,
    random_resized_boxes,
)
from abaw_mm.structures import FrameBatch, is_frame_batch


@MODELS.register_module()
class FrameDataPreprocessor(BaseDataPreprocessor):
    """Random crop, mirror, resize and normalise whole batches of ``collate_frames``.

    It does to a batch what the plain pipeline does to each frame in the workers: for training
    ``RandomResizedCrop`` and ``RandomFlip``, else ``ResizeEdge`` and ``CenterCrop``; then what
    ``ClsDataPreprocessor`` does. The crop of a frame depends on the run's seed, the epoch and the
    frame's place in its draw (``FrameBatchHook``), so it is the same for any number of workers.

    Args:
        mean, std (Sequence[float]): Of each channel, in grey values of 0-255.
        to_rgb (bool): Turn BGR into RGB. Defaults to True.
        crop_size (int): Side of the network's input, in pixels. Defaults to 224.
        resize_edge (int): Shorter side, in pixels, to which an image is resized before the middle
            is cut out, when not training. Defaults to 256.
        crop_ratio_range (Sequence[float]): Share of the area that a random crop covers. Defaults
            to (0.6, 1.0), the released code's.
        aspect_ratio_range (Sequence[float]): Width over height of a random crop. Defaults to
            (1.0, 1.0), the released code's.
        flip_prob (float): Share of mirrored frames. Defaults to 0.5.
        batch_augments (dict, optional): What mmpretrain's classifiers hand on of their
            ``train_cfg``. Anything but None is refused: mixing frames needs the plain pipeline.

    Raises:
        ValueError: For batches that ``collate_frames`` did not make, or without keys in training.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        to_rgb: bool = True,
        crop_size: int = 224,
        resize_edge: int = 256,
        crop_ratio_range: Sequence[float] = (0.6, 1.0),
        aspect_ratio_range: Sequence[float] = (1.0, 1.0),
        flip_prob: float = 0.5,
        batch_augments: dict | None = None,
    ) -> None:
        super().__init__(non_blocking=True)
        if batch_augments is not None:
            raise ValueError(
                f'FrameDataPreprocessor: got batch_augments={batch_augments}, expected none; leave '
                'out model.train_cfg.augments, or inherit _base_/plain.py'
            )
        if resize_edge < crop_size:
            raise ValueError(
                f'FrameDataPreprocessor: resize_edge={resize_edge}, expected at least '
                f'crop_size={crop_size}; set data_preprocessor.resize_edge'
            )
        for name, values in (('mean', mean), ('std', std)):
            values = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)  # checkpoints stay mmpretrain's
        self.to_rgb = to_rgb
        self.crop_size = crop_size
        self.resize_edge = resize_edge
        self.crop_ratio_range = tuple(crop_ratio_range)
        self.aspect_ratio_range = tuple(aspect_ratio_range)
        self.flip_prob = flip_prob

    @torch.compiler.disable  # NumPy and OpenCV: the Runner's `compile` is for the network
    def forward(self, data: dict, training: bool = False) -> dict:
        """Make the network's input.

        Args:
            data (dict): What ``collate_frames`` returns; for training with ``key`` (N, ) uint64.
            training (bool): Whether crops are random.

        Returns:
            dict: ``inputs`` (N, 3, crop_size, crop_size) float32 and ``data_samples``, a list of
            one ``FrameBatch``.
        """
        if not is_frame_batch(data):
            raise ValueError(
                f'FrameDataPreprocessor: got a batch with {sorted(data)}, expected what '
                "collate_frames returns; set collate_fn=dict(type='collate_frames') of the data "
                'loader, and a pipeline of LoadFaceCrop alone'
            )
        key = data.get('key')
        tensors = {k: v for k, v in data.items() if k not in ('clips', 'key')}
        tensors = self.cast_data(tensors)
        images = tensors.pop('inputs')
        if self.to_rgb:
            images = images.flip(-1)
        inputs = self._random_crop(images, key) if training else self._centre_crop(images)
        inputs = inputs.sub_(self.mean).div_(self.std)  # the crop made them: in place
        return dict(
            inputs=inputs, data_samples=[FrameBatch(metainfo=dict(clips=data['clips']), **tensors)]
        )

    def _random_crop(self, images: torch.Tensor, key: np.ndarray | None) -> torch.Tensor:
        if key is None:
            raise ValueError(
                'FrameDataPreprocessor: got a batch without keys, expected one a frame; set '
                "default_hooks=dict(frame_batch=dict(type='FrameBatchHook')), as "
                'configs/_base_/default_runtime.py does'
            )
        numbers = uniform(key, 1 + 4 * MAX_ATTEMPTS)
        boxes = random_resized_boxes(
            numbers[:, 1:], *images.shape[1:3], self.crop_ratio_range, self.aspect_ratio_range
        )
        return crop_and_resize(
            images, boxes, numbers[:, 0] < self.flip_prob, (self.crop_size, self.crop_size)
        )

    def _centre_crop(self, images: torch.Tensor) -> torch.Tensor:
        batch, height, width = images.shape[:3]
        edge = min(height, width)
        size = int(self.resize_edge * height / edge), int(self.resize_edge * width / edge)
        whole = np.tile([0, 0, width, height], (batch, 1))
        resized = crop_and_resize(images, whole, np.zeros(batch, bool), size)
        top, left = (max(0, round((side - self.crop_size) / 2.0)) for side in size)
        return resized[:, :, top : top + self.crop_size, left : left + self.crop_size]
