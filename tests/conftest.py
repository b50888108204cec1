"""Fixtures that several test files share: data, outputs of the released code, processes."""

import importlib.util
import json
import logging
import multiprocessing
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from PIL import Image

import abaw_mm  # noqa: F401  patches and registers before any test imports mmpretrain
from abaw_mm.compat.cpu import end_process_group
from abaw_mm.datasets import FeatureFolder
from abaw_mm.datasets.crops.crop_folder import CropFolder, list_crops
from abaw_mm.errors import UserError
from abaw_mm.evaluation import Predictions
from abaw_mm.structures.tasks import ACTION_UNITS

REPO = Path(__file__).parents[1]
TOOLS = REPO / 'tools'
SHARED = REPO.parent / 'shared'  # optional: real faces and outputs of the released code
HEADER = 'Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other'


@pytest.fixture(autouse=True)
def mmpretrain_scope() -> None:
    """Reset the default registry scope, which an earlier test may have changed."""
    init_default_scope('mmpretrain')


@pytest.fixture(scope='session')
def load_tool() -> Callable[[str], ModuleType]:
    """Import a script of ``tools/`` as a module: ``load_tool('report.py').main([...])``."""

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f'tool_{Path(path).stem}', TOOLS / path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope='session')
def kills() -> ModuleType:
    """Import ``benchmarks/kill_and_resume.py``, which kills and resumes tiny runs."""
    path = REPO / 'benchmarks/kill_and_resume.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_tool(load_tool: Callable, capsys: pytest.CaptureFixture) -> Callable:
    """Run a script of ``tools/`` in this process: exit status, standard output and error."""

    def run(path: str, *args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = load_tool(path).main([str(arg) for arg in args])
        except SystemExit as error:  # wrong arguments
            status = error.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def repo() -> Path:
    """Return the root of the repository."""
    return REPO


@pytest.fixture
def affwild2_mini(tmp_path: Path) -> Path:
    """Return a data root of real faces in the official layout; skip if it is not available."""
    source, root = SHARED / 'affwild2_mini', tmp_path / 'affwild2_mini'
    if not source.is_dir():
        pytest.skip('no affwild2_mini beside the repository')
    root.mkdir()
    for path in source.iterdir():  # links, so that no test writes into the data
        (root / path.name).symlink_to(path)
    return root


@pytest.fixture(scope='session')
def real_frames() -> Callable[..., list[np.ndarray]]:
    """Read frames of a real video by number; skip if it is not available."""
    av = pytest.importorskip('av')
    videos = SHARED / 'videos'

    def read(name: str, numbers: Iterable[int]) -> list[np.ndarray]:
        if not (videos / name).is_file():
            pytest.skip(f'no {name} beside the repository')
        wanted = set(numbers)
        with av.open(str(videos / name)) as container:
            return [
                frame.to_ndarray(format='rgb24')
                for number, frame in zip(
                    range(max(wanted) + 1), container.decode(video=0), strict=False
                )
                if number in wanted
            ]

    return read


@pytest.fixture
def golden() -> Path:
    """Return the folder of the released code's outputs; skip if it is not available."""
    root = SHARED / 'golden'
    if not root.is_dir():
        pytest.skip('no golden outputs beside the repository')
    return root


class Released:
    """Weights and outputs of the released code's networks.

    The weights are generated from the names of the tensors.
    """

    def __init__(self, root: Path) -> None:
        spec = importlib.util.spec_from_file_location('fill', root / 'fill.py')
        self.fill = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.fill)
        self.shapes = json.loads((root / 'state_dict_shapes.json').read_text())
        self.outputs = np.load(root / 'released_code.npz')

    def state_dict(self, network: str) -> dict[str, torch.Tensor]:
        """Return the weights of a network under the released names."""
        return self.fill.state_dict(self.shapes[network])

    def output(self, name: str) -> torch.Tensor:
        """Return an output of the released code."""
        return torch.from_numpy(self.outputs[name])


@pytest.fixture
def released(golden: Path) -> Released:
    """Return the released code's networks; skip if their outputs are not available."""
    return Released(golden)


def write_clip(
    root: Path,
    split: str,
    clip: str,
    labels: list[int],
    missing: tuple[int, ...] = (),
    size: int = 16,
    start: int = 1,
    crops: str = 'cropped_aligned',
    header: str = HEADER,
) -> None:
    """Write one clip in the official layout: its annotation file and its crops."""
    folder = root / 'annotations/EXPR_Recognition_Challenge' / split
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{clip}.txt').write_text('\n'.join([header, *map(str, labels)]) + '\n')
    images = root / crops / clip
    images.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(labels))
    for number in range(start, start + len(labels)):
        if number not in missing:
            pixels = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f'{number:05d}.jpg')


@pytest.fixture
def make_clip() -> Callable:
    """Return :func:`write_clip`."""
    return write_clip


def write_tracks(root: Path) -> None:
    """Annotate the crops of a data root for all tracks; a multi-task row of a set is repeated."""
    rng = np.random.default_rng(0)
    for split, prefix in (('Train_Set', 'training_set'), ('Validation_Set', 'validation_set')):
        rows = []
        folder = root / 'annotations/EXPR_Recognition_Challenge' / split
        for file in sorted(folder.glob('*.txt')):
            labels = [int(line) for line in file.read_text().split('\n')[1:] if line]
            va = rng.uniform(-1, 1, (len(labels), 2)).round(2)
            au = rng.integers(0, 2, (len(labels), 12))
            for name, header, values in (
                ('VA_Estimation_Challenge', 'valence,arousal', va),
                ('AU_Detection_Challenge', ','.join(ACTION_UNITS), au),
            ):
                path = root / 'annotations' / name / split / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                lines = [','.join(map(str, row)) for row in values.tolist()]
                path.write_text('\n'.join([header, *lines]) + '\n')
            for i, label in enumerate(labels):
                if (root / f'cropped_aligned/{file.stem}/{i + 1:05d}.jpg').is_file():
                    numbers = [*va[i], label, *(au[i] if i % 3 else [-1] * 12)]
                    rows.append(f'{file.stem}/{i + 1:05d}.jpg,{",".join(map(str, numbers))}')
        header = f'image,valence,arousal,expression,{",".join(ACTION_UNITS)}'
        path = root / 'annotations/MTL_Challenge' / f'{prefix}_annotations.txt'
        path.parent.mkdir(exist_ok=True)
        path.write_text('\n'.join([header, *rows, rows[1]]) + '\n')


@pytest.fixture
def annotate_tracks() -> Callable:
    """Return :func:`write_tracks`."""
    return write_tracks


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Write a data root with three training clips, two validation clips and a list of frames."""
    root = tmp_path / 'affwild2'
    write_clip(root, 'Train_Set', '1-30-1280x720', [0, 1, -1, 2, 3, 4, 5, 6, 7, 0, 0])
    write_clip(root, 'Train_Set', 'video10_left', [0] * 20, missing=(3, 4))
    write_clip(root, 'Train_Set', 'face clip 3', [4, -1, -1, 4, 7] * 3, missing=(2, 5))
    write_clip(root, 'Validation_Set', '5-60-1920x1080-1', [0, 1, 2, 3, 4, 5, 6, 7, -1])
    write_clip(root, 'Validation_Set', 'video11_right', [7, 7, 0], missing=(1,))
    for number in (1, 2, 4):
        folder = root / 'cropped_aligned/video65'
        folder.mkdir(exist_ok=True)
        Image.new('RGB', (16, 16)).save(folder / f'{number:05d}.jpg')
    rows = [f'video65/{number:05d}.jpg,' for number in range(1, 5)]
    (root / 'test_set_format.txt').write_text('\n'.join([f'image_location,{HEADER}', *rows]))
    return root


def write_features(
    folder: Path, root: Path, dim: int = 6, layer: str = 'neck'
) -> dict[str, dict[int, np.ndarray]]:
    """Write random features of all crops of a data root.

    Returns:
        dict: For each clip, frame numbers and their features (D, ) float16.
    """
    crops, rng = CropFolder(root / 'cropped_aligned'), np.random.default_rng(0)
    meta = dict(config='res18', sha256='0' * 64, layer=layer, dim=dim)
    features = FeatureFolder.start(folder, meta)
    written = {}
    for clip in features.plan(list_crops([crops], crops.clips())):
        numbers = features.frame_numbers(clip)
        array = rng.standard_normal((len(numbers), dim)).astype(np.float16)
        features.write(clip, array)
        written[clip] = dict(zip(numbers.tolist(), array, strict=True))
    return written


@pytest.fixture
def make_features() -> Callable:
    """Return :func:`write_features`."""
    return write_features


def make_noisy_predictions(
    num_clips: int = 12, frames: int = 60, seed: int = 0, signal: float = 1.0
) -> Predictions:
    """Make clips whose class changes every 20 frames, and scores that are often wrong."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 8, (num_clips, frames // 20)).repeat(20, axis=1).ravel()
    logit = rng.normal(0, 2, (len(label), 8))
    logit[np.arange(len(label)), label] += signal
    score = np.exp(logit)
    score = (score / score.sum(1, keepdims=True)).astype(np.float32)
    columns = dict(
        gt_label=label.astype(np.int32),
        pred_label=score.argmax(1).astype(np.int32),
        pred_score=score,
    )
    return Predictions(
        [f'v{i:02d}' for i in range(num_clips)],
        np.repeat(np.arange(num_clips, dtype=np.int32), frames),
        np.tile(np.arange(1, frames + 1, dtype=np.int32), num_clips),
        columns,
        sha256='ab',
        config='res18',
    )


@pytest.fixture
def make_noisy() -> Callable:
    """Return :func:`make_noisy_predictions`."""
    return make_noisy_predictions


@pytest.fixture
def write_frame_list() -> Callable:
    """Return a function that writes a list of five frames in the format of a challenge."""

    def write(path: Path, line_end: str = '') -> Path:
        frames = ['z_left/00001', 'z_left/00002', 'z_left/00003', 'a b/00001', 'a b/00002']
        lines = [f'image_location,{HEADER}', *(f'{name}.jpg{line_end}' for name in frames), '', '']
        path.write_text('\n'.join(lines), encoding='utf-8-sig', newline='')
        return path

    return write


@pytest.fixture
def count_flips() -> Callable:
    """Return a function that flips bits of a file, one at a time, and counts what follows."""

    def count(
        path: Path, is_same: Callable[[Path], bool], flips: int = 200
    ) -> tuple[int, int, int]:
        """Count the flips after which the file is refused, read as before, and read otherwise."""
        content, rng = path.read_bytes(), np.random.default_rng(0)
        refused = equal = different = 0
        for position in rng.integers(0, 8 * len(content), flips):
            damaged = bytearray(content)
            damaged[position // 8] ^= 1 << position % 8
            path.write_bytes(damaged)
            try:
                same = is_same(path)
            except UserError:
                refused += 1
            else:
                equal, different = equal + same, different + (not same)
        path.write_bytes(content)
        return refused, equal, different

    return count


# Processes of run_distributed are forked from one that has imported this once.
multiprocessing.set_forkserver_preload(['abaw_mm.apis'])


def _worker(
    rank: int, world_size: int, environment: dict[str, str], function: Callable, args: tuple
) -> None:
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    with end_process_group():
        dist.init_process_group('gloo', rank=rank, world_size=world_size)
        function(*args)
        dist.barrier()  # a process that exits early would abort the others


@pytest.fixture
def run_distributed() -> Callable:
    """Return a function that runs a module-level function in several gloo processes.

    It raises what one of the processes raises.
    """

    def run(function: Callable, *args: object, world_size: int = 2) -> None:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        own = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), WORLD_SIZE=str(world_size))
        mp.start_processes(
            _worker,
            (world_size, {**os.environ, **own}, function, args),
            nprocs=world_size,
            start_method='forkserver',
        )

    return run


@pytest.fixture
def logged_warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the warnings of all loggers of mmengine; each Runner has a logger of its own."""
    messages: list[str] = []
    call_handlers = MMLogger.callHandlers

    def collect(self: MMLogger, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            messages.append(record.getMessage())
        call_handlers(self, record)

    monkeypatch.setattr(MMLogger, 'callHandlers', collect)
    return messages
