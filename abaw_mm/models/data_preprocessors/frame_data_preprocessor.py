"""Data preprocessor for batches of ``collate_frames``: augment on the model's device."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from abaw_mm.checks import above, between, check_arguments
from abaw_mm.datasets.samplers.keyed_random import uniform
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.data_preprocessors.batch_augments import check_no_batch_augments
from abaw_mm.models.data_preprocessors.batch_crops import (
    MAX_ATTEMPTS,
    crop_and_resize_by_grid,
    crop_and_resize_by_opencv,
    random_resized_boxes,
)
from abaw_mm.structures import FrameBatch, is_frame_batch


@MODELS.register_module()
class FrameDataPreprocessor(BaseDataPreprocessor):
    """Crop, flip, resize and normalise whole batches of ``collate_frames``.

    Does to a batch what the plain pipeline does to each frame in the workers:
    ``RandomResizedCrop`` and ``RandomFlip`` in training, otherwise ``ResizeEdge`` and
    ``CenterCrop``; then the normalisation of ``ClsDataPreprocessor``. The crop of a frame depends
    on the seed of the run, the epoch and the position in the epoch (``FrameBatchHook``), so it does
    not depend on the number of workers.

    Args:
        mean, std (Sequence[float]): Mean and standard deviation per channel, in 0-255.
        to_rgb (bool): Whether to convert BGR to RGB. Defaults to True.
        crop_size (int): Side of the network's input, in pixels. Defaults to 224.
        resize_edge (int): Shorter side before the centre crop in evaluation, in pixels, at least
            ``crop_size``. Defaults to 256.
        crop_ratio_range (tuple[float, float]): Range of the area of a random crop, as a fraction of
            the image. Defaults to (0.6, 1.0), as in the released code.
        aspect_ratio_range (tuple[float, float]): Range of width / height of a random crop. Defaults
            to (1.0, 1.0), as in the released code.
        flip_prob (float): Probability of a horizontal flip. Defaults to 0.5.
        batch_augments (dict, optional): ``train_cfg`` of the classifier. Must be None: frames are
            not mixed.

    Raises:
        ValueError: If an argument is out of range, or ``batch_augments`` is not None.
    """

    @check_arguments(
        'data_preprocessor',
        std=above(0),
        crop_size=between(1, 4096),
        resize_edge=between(1, 4096),
        crop_ratio_range=between(0, 1, above=True),
        aspect_ratio_range=above(0),
        flip_prob=between(0, 1),
    )
    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        to_rgb: bool = True,
        crop_size: int = 224,
        resize_edge: int = 256,
        crop_ratio_range: tuple[float, float] = (0.6, 1.0),
        aspect_ratio_range: tuple[float, float] = (1.0, 1.0),
        flip_prob: float = 0.5,
        batch_augments: dict | None = None,
    ) -> None:
        super().__init__(non_blocking=True)
        check_no_batch_augments(batch_augments)
        _check_sizes(crop_size, resize_edge)
        _check_channels(mean, std)
        _check_order('crop_ratio_range', crop_ratio_range)
        _check_order('aspect_ratio_range', aspect_ratio_range)
        # Not persistent, so that checkpoints stay those of mmpretrain.
        self.register_buffer('mean', torch.tensor(mean).float().view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).float().view(-1, 1, 1), persistent=False)
        self.to_rgb = to_rgb
        self.crop_size = crop_size
        self.resize_edge = resize_edge
        self.crop_ratio_range = crop_ratio_range
        self.aspect_ratio_range = aspect_ratio_range
        self.flip_prob = flip_prob

    @torch.compiler.disable  # NumPy and OpenCV: the Runner's `compile` is for the network
    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare the network's input.

        Args:
            data (dict): Batch of ``collate_frames``; in training with ``key`` (N, ) uint64. Or
                pictures of mmpretrain's inferencer: ``img`` (N, H, W, 3) uint8.
            training (bool): Whether crops are random. Defaults to False.

        Returns:
            dict: ``inputs`` (N, 3, crop_size, crop_size) float32 and ``data_samples``, a list of
            one ``FrameBatch``, or of N data samples for pictures.

        Raises:
            ValueError: If ``collate_frames`` did not make the batch, or keys are missing in
                training.
        """
        if 'img' in data and not training:
            return self._prepare_pictures(data['img'])
        check_frame_batch(data, type(self).__name__)
        if training:
            _check_key(data)
        tensors = self.cast_data({k: v for k, v in data.items() if k not in ('clips', 'key')})
        inputs = self._make_inputs(tensors.pop('inputs'), data['key'] if training else None)
        batch = FrameBatch(metainfo=dict(clips=data['clips']), **tensors)
        return dict(inputs=inputs, data_samples=[batch])

    def _prepare_pictures(self, images: torch.Tensor) -> dict:
        _check_pictures(images)
        inputs = self._make_inputs(self.cast_data(images), None)
        return dict(inputs=inputs, data_samples=[DataSample() for _ in inputs])

    def _make_inputs(self, images: torch.Tensor, key: np.ndarray | None) -> torch.Tensor:
        batch, height, width, _ = images.shape
        if key is not None:
            numbers = uniform(key, 1 + 4 * MAX_ATTEMPTS)
            boxes = random_resized_boxes(
                numbers[:, 1:], height, width, self.crop_ratio_range, self.aspect_ratio_range
            )
            flip = numbers[:, 0] < self.flip_prob
            size = (self.crop_size, self.crop_size)
        else:
            edge = min(height, width)
            size = int(self.resize_edge * height / edge), int(self.resize_edge * width / edge)
            boxes = np.tile([0, 0, width, height], (batch, 1))
            flip = np.zeros(batch, bool)
        top, left = (max(0, round((side - self.crop_size) / 2.0)) for side in size)
        window = (top, left, self.crop_size, self.crop_size)
        if images.device.type == 'cpu':
            return crop_and_resize_by_opencv(
                images, boxes, flip, size, window, self.mean, self.std, self.to_rgb
            )
        if self.to_rgb:
            images = images.flip(-1)
        resized = crop_and_resize_by_grid(images, boxes, flip, size)
        inputs = resized[:, :, top : top + self.crop_size, left : left + self.crop_size]
        return inputs.sub_(self.mean).div_(self.std)  # in place: the crops are new tensors


def _check_sizes(crop_size: int, resize_edge: int) -> None:
    if resize_edge < crop_size:
        raise InvalidValueError(
            f'FrameDataPreprocessor: got resize_edge={resize_edge}, expected at least '
            f'crop_size={crop_size}; set data_preprocessor.resize_edge'
        )


def _check_channels(mean: Sequence[float], std: Sequence[float]) -> None:
    if len(mean) != len(std) or len(mean) not in (1, 3):
        raise InvalidValueError(
            f'FrameDataPreprocessor: got mean={mean} and std={std}, expected one number per '
            'channel, 3 each; set data_preprocessor.mean and data_preprocessor.std'
        )


def _check_order(name: str, limits: tuple[float, float]) -> None:
    if limits[0] > limits[1]:
        raise InvalidValueError(
            f'FrameDataPreprocessor: got {name}={limits}, expected (lowest, highest); set '
            f'data_preprocessor.{name}'
        )


def _check_pictures(images: torch.Tensor) -> None:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != torch.uint8:
        raise InvalidValueError(
            f'FrameDataPreprocessor: got pictures of shape {tuple(images.shape[1:])} and type '
            f'{images.dtype}, expected (H, W, 3) and uint8, in BGR'
        )


def check_frame_batch(data: dict, owner: str) -> None:
    """Raise ValueError unless ``collate_frames`` made a batch."""
    if not is_frame_batch(data):
        raise InvalidValueError(
            f'{owner}: got a batch with {sorted(data)}, expected a batch of '
            "collate_frames; set collate_fn=dict(type='collate_frames') of the data loader and a "
            'pipeline with only LoadFaceCrop'
        )


def _check_key(data: dict) -> None:
    if data.get('key') is None:
        raise InvalidValueError(
            'FrameDataPreprocessor: got a training batch without keys, expected one key per frame; '
            "set default_hooks=dict(frame_batch=dict(type='FrameBatchHook')), as "
            'configs/_base_/default_runtime.py does'
        )
