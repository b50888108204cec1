"""Data preprocessor for windows of a ``ClipFeatureDataset``."""

from collections.abc import Mapping

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.utils import apply_to
from mmpretrain.registry import MODELS

from abaw_mm.checks import between, check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.data_preprocessors.batch_augments import check_no_batch_augments
from abaw_mm.structures import FrameBatch
from abaw_mm.structures.tasks import TASKS


@MODELS.register_module()
class WindowDataPreprocessor(BaseDataPreprocessor):
    """Move windows to the device and collect the frames to score in a ``FrameBatch``.

    Args:
        batch_augments (dict, optional): ``train_cfg`` of the classifier. Must be None.
        stream_dropout (dict, optional): Probability, for each named stream, that a training window
            is seen without it, see :func:`drop_streams`. Other streams are always seen. Defaults to
            None, no stream.

    Raises:
        ValueError: If ``batch_augments`` is not None, or a probability is not in [0, 1).
    """

    @check_arguments('model.data_preprocessor')
    def __init__(
        self, batch_augments: dict | None = None, stream_dropout: dict | None = None
    ) -> None:
        super().__init__(non_blocking=True)
        check_no_batch_augments(batch_augments)
        _check_stream_dropout(stream_dropout)
        self.stream_dropout = stream_dropout

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare the model's input.

        Args:
            data (dict): N stacked items of a ``ClipFeatureDataset``.
            training (bool): Whether streams are dropped.

        Returns:
            dict: ``inputs`` (N, W, D) float32 and ``data_samples``, a list of one ``FrameBatch`` of
            the F frames to score. Its ``seen`` is (N, W) bool. Its ``place`` (F, ) int64 is the
            position of each frame among the N * W positions. With several streams, ``inputs`` and
            ``seen`` are dicts of name to tensor.

        Raises:
            ValueError: If the batch is not one of a ``ClipFeatureDataset``, or does not have the
                streams of ``stream_dropout``.
        """
        _check_windows(data)
        row_of = {clip: row for row, clip in enumerate(dict.fromkeys(data['clip']))}
        place = data['scored'].flatten().nonzero().flatten()
        window = place // data['scored'].shape[1]
        frames = dict(
            clip_id=torch.tensor([row_of[clip] for clip in data['clip']])[window],
            sample_idx=data['sample_idx'][window],
        )
        for name in ('frame_no', *(target.ground_truth for target in TASKS['mtl'])):
            if name in data:  # labels may be hidden
                frames[name] = data[name].flatten(0, 1)[place]
        seen = data['seen']
        if self.stream_dropout and training:
            _check_streams(seen, self.stream_dropout)
            seen = drop_streams(seen, self.stream_dropout)
        moved = self.cast_data(dict(frames, place=place, seen=seen, inputs=data['inputs']))
        inputs = apply_to(moved.pop('inputs'), torch.is_tensor, torch.Tensor.float)
        batch = FrameBatch(metainfo=dict(clips=list(row_of)), **moved)
        return dict(inputs=inputs, data_samples=[batch])


def drop_streams(
    seen: Mapping[str, torch.Tensor], dropout: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """Hide streams of random windows, but never all streams of a frame.

    A network that has always seen two streams relies on both, and fails where one is missing.
    Streams are dropped independently. A frame that would then be seen in no stream keeps all its
    streams.

    Args:
        seen (Mapping): For each stream, mask (N, W) bool.
        dropout (Mapping): For some of the streams, the probability that a window is seen without
            it.

    >>> seen = dict(video=torch.ones(4, 2).bool(), audio=torch.ones(4, 2).bool())
    >>> dropped = drop_streams(seen, dict(video=0.9, audio=0.9))
    >>> bool((dropped['video'] | dropped['audio']).all())
    True
    """
    masks = torch.stack(list(seen.values()))  # (S, N, W)
    chance = torch.tensor([[dropout.get(name, 0.0)] for name in seen])
    kept = (torch.rand(masks.shape[:2]) >= chance)[..., None]
    hidden = ~(masks & kept).any(dim=0)
    return dict(zip(seen, masks & (kept | hidden), strict=True))


def _check_stream_dropout(dropout: dict | None) -> None:
    chance = between(0, 1, above=True, below=True)
    for name, value in (dropout or {}).items():
        if not isinstance(value, (int, float)) or not chance.accepts(value):
            raise InvalidValueError(
                f'WindowDataPreprocessor: got stream_dropout.{name}={value!r}, expected '
                f'{chance.text}; set data_preprocessor.stream_dropout.{name}'
            )


def _check_streams(seen: object, dropout: dict) -> None:
    names = list(seen) if isinstance(seen, Mapping) else []
    unknown = sorted(set(dropout).difference(names))
    if unknown or len(names) < 2:
        raise InvalidValueError(
            f'WindowDataPreprocessor: got stream_dropout of {", ".join(dropout)} for '
            f'{"the streams " if names else "a single folder"}{", ".join(names)}, expected some of '
            'several streams; set data_preprocessor.stream_dropout to streams of feature_dir'
        )


def _check_windows(data: dict) -> None:
    if 'seen' not in data or not isinstance(data['inputs'], (torch.Tensor, Mapping)):
        raise InvalidValueError(
            f'WindowDataPreprocessor: got a batch with {sorted(data)}, expected stacked windows; '
            "set dataset=dict(type='ClipFeatureDataset', ...) and "
            "collate_fn=dict(type='default_collate') of the data loader"
        )
