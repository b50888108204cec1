#!/usr/bin/env python
"""Damage files of every format that the package reads, and check that it reports its own errors.

    python benchmarks/fuzz_formats.py --mutations 20000 --out fuzz_formats.json

Each mutation is drawn from the seed, the format and its number, so any of them can be repeated:

    python benchmarks/fuzz_formats.py --show predictions.npz:1234

A mutation must end in a value or in a subclass of ``UserError`` with one short line. The readers
run in a forked process with a limit of memory; a process that crashes or hangs is counted and
replaced. Outcomes:

- ``refused``: an error for the user, or a cache that is rebuilt
- ``same``: the value of the original file
- ``other``: another value, which the format cannot notice or, in a text, is a legal one
- ``raw``: another exception, ``long``: an unreadable message, ``crash``, ``hang``: mistakes
"""

import argparse
import faulthandler
import io
import json
import logging
import multiprocessing
import os
import platform
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import safetensors.torch
import torch
from mmengine.logging import MMLogger
from PIL import Image

from abaw_mm.apis import export_features, import_features
from abaw_mm.checkpoints.find_latest import find_latest
from abaw_mm.checkpoints.load import load_checkpoint_file
from abaw_mm.datasets import FeatureFolder
from abaw_mm.datasets.annotations import (
    HEADER,
    LIST_HEADER,
    read_annotation_folder,
    read_clip_names,
    read_frame_list,
    read_labels,
)
from abaw_mm.datasets.crops.crop_folder import CropFolder, list_crops
from abaw_mm.datasets.crops.crop_packer import pack_crops
from abaw_mm.datasets.crops.load_face_crop import read_crop
from abaw_mm.datasets.crops.packed_crops import PackedCrops, close_store
from abaw_mm.datasets.frame_index import FrameIndex, FrameReader
from abaw_mm.datasets.index_cache import IndexCache
from abaw_mm.errors import InvalidValueError, UserError
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.submission import check_submission
from abaw_mm.paper.work_dir import WorkDir, find_last_checkpoint, read_step_times
from abaw_mm.structures import FrameTable

MISTAKES = ('raw', 'long', 'crash', 'hang')
MAX_MESSAGE = 1000  # characters of a message that a person reads
TIME_LIMIT = 10.0  # seconds for one mutation
MEMORY_LIMIT = 1 << 30  # bytes beyond those that the process has at its start
NUMBERS = (0, 1, -1, 127, 128, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32, 2**63 - 1, -(2**63))
TEXTS = (
    b'..',
    b'/',
    b'\\',
    b'\0',
    b'\r',
    b'\n',
    b'\r\n',
    b',',
    b'-1',
    b'nan',
    b'1e999',
    b'9' * 30,
    b'\xff\xfe',
    b'\xef\xbb\xbf',
    b'\xe9',
    b'null',
    b'[]',
    b'{}',
)
VALUES = (
    None,
    True,
    -1,
    0,
    2**40,
    1e400,
    float('nan'),
    '',
    '../x',
    'x' * 300,
    [],
    [[]],
    {},
    {'a': 1},
)

Mutate = Callable[[bytes, random.Random], bytes]


# ------------------------------------------------------------------------------- mutations


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Apply one to three mutations that know nothing about the format."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(out) + 1)
        stop = min(len(out), at + rng.choice((1, 2, 4, 16, 64, 512)))
        kind = rng.randrange(8)
        if kind == 0 and out:  # flip one bit
            at = rng.randrange(len(out))
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:  # replace one byte
            out[rng.randrange(len(out))] = rng.randrange(256)
        elif kind == 2:  # cut off
            del out[at:]
        elif kind == 3:  # delete a piece
            del out[at:stop]
        elif kind == 4:  # repeat a piece elsewhere
            to = rng.randrange(len(out) + 1)
            out[to:to] = out[at:stop]
        elif kind == 5:  # swap two pieces
            to = rng.randrange(len(out) + 1)
            one, other = out[at:stop], out[to : to + stop - at]
            out[at:stop], out[to : to + len(other)] = other, one
        elif kind == 6:  # write a number
            size, order = rng.choice((1, 2, 4, 8)), rng.choice(('little', 'big'))
            number = rng.choice(NUMBERS) % (1 << (8 * size))
            out[at : at + size] = number.to_bytes(size, order)
        else:  # insert a text
            out[at:at] = rng.choice(TEXTS)
    return bytes(out)


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Replace, remove or add a value anywhere in a JSON text, often by one of another type."""
    tree = [json.loads(data)]
    nodes: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        items = enumerate(node) if isinstance(node, list) else node.items()
        for key, value in items:
            nodes.append((node, key))
            if isinstance(value, (list, dict)):
                collect(value)

    collect(tree)
    node, key = rng.choice(nodes)
    kind = rng.randrange(4)
    if kind == 0 and node is not tree:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice(('x', '../x', '', *map(str, node)))] = rng.choice(VALUES)
    else:
        node[key] = rng.choice(VALUES)
    return json.dumps(tree[0]).encode()


def mutate_members(mutate: Mutate) -> Mutate:
    """Return a mutation of one member of a zip archive, whose checksum is right again."""

    def mutate_member(data: bytes, rng: random.Random) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = rng.choice(sorted(members))
        if rng.randrange(10) == 0:
            del members[name]
        else:
            members[name] = mutate(members[name], rng)
        file = io.BytesIO()
        with zipfile.ZipFile(file, 'w') as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return file.getvalue()

    return mutate_member


def mutate_array(data: bytes, rng: random.Random) -> bytes:
    """Change the type, the shape or a value of an array in the format of NumPy."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    kind = rng.randrange(4)
    with suppress(ValueError, TypeError, OverflowError), np.errstate(all='ignore'):
        if kind == 0:
            array = array.astype(rng.choice(('i8', 'u8', 'f8', 'f2', 'U9', 'S9', 'c8', '?', '>i4')))
        elif kind == 1:
            array = array.reshape(rng.choice(((-1,), (1, -1), (-1, 1), (-1, 2))))
        elif kind == 2:
            array = array[: rng.randrange(len(array) + 1)] if array.ndim else array[None]
        elif array.size:
            flat = array.reshape(-1)
            flat[rng.randrange(len(flat))] = rng.choice((*NUMBERS, float('nan'), 1e30, '../x'))
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def mutate_pickle(data: bytes, rng: random.Random) -> bytes:
    """Write a number or a text of another type into the opcodes of a pickle."""
    at = rng.randrange(len(data))
    piece = rng.choice((b'N', b'\x88', b'K\x07', b'J\xff\xff\xff\xff', b'X\x01\0\0\0x', b']', b'}'))
    return data[:at] + piece + data[at + rng.choice((0, 1, 2, 5)) :]


# --------------------------------------------------------------------------------- formats


@dataclass
class Format:
    """One format: the file to damage and how it is read.

    Attributes:
        path (Path): The file. It is replaced by each mutation.
        read (Callable): Reads it as the package does; returns what tells values apart.
        mutations (Sequence[Callable]): One of them is drawn; ``mutate_bytes`` half of the time.
    """

    path: Path
    read: Callable[[], Any]
    mutations: Sequence[Mutate] = ()
    data: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.data = self.path.read_bytes()

    def mutate(self, rng: random.Random) -> bytes:
        """Return the damaged content of the file."""
        if self.mutations and rng.random() < 0.5:
            return rng.choice(self.mutations)(self.data, rng)
        return mutate_bytes(self.data, rng)


def describe_table(table: FrameTable) -> tuple:
    """Return what tells two tables apart."""
    columns = [table.clip_id, table.frame_no, *table.columns.values()]
    return table.clips, list(table.columns), [(c.dtype.str, c.shape, c.tobytes()) for c in columns]


def describe_tree(node: Any) -> Any:
    """Return what tells two checkpoints apart."""
    if isinstance(node, torch.Tensor):
        return str(node.dtype), tuple(node.shape), node.contiguous().flatten().tolist()
    if isinstance(node, np.ndarray):
        return node.dtype.str, node.shape, node.tolist()
    if isinstance(node, dict):
        return [(repr(key), describe_tree(value)) for key, value in node.items()]
    if isinstance(node, (list, tuple)):
        return [describe_tree(value) for value in node]
    return repr(node)


def write_dataset(root: Path) -> None:
    """Write annotations, crops, a list of frames and folds of three small clips."""
    rng = np.random.default_rng(0)
    labels = root / 'labels'
    labels.mkdir(parents=True)
    clips = ('video1', 'video2_left', '5-60-1920x1080-1')
    for clip in clips:
        values = rng.integers(-1, 8, 12)
        (labels / f'{clip}.txt').write_text('\n'.join([HEADER, *map(str, values), '']))
        (root / 'crops' / clip).mkdir(parents=True)
        for number in range(1, 13):
            pixels = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
            pixels.save(root / 'crops' / clip / f'{number:05d}.jpg')
    rows = [f'{clip}/{number:05d}.jpg,' for clip in clips for number in range(1, 9)]
    (root / 'list.txt').write_text('\n'.join([LIST_HEADER, *rows, '']))
    (root / 'submission.txt').write_text('\n'.join([LIST_HEADER, *(f'{row}3' for row in rows), '']))
    (root / 'fold.txt').write_text('\n'.join([*clips[:2], '']))


def make_formats(root: Path) -> dict[str, Format]:
    """Write a small file of each format under ``root``."""
    write_dataset(root)
    return {
        **make_text_formats(root),
        **make_image_formats(root),
        **make_array_formats(root),
        **make_import_formats(root / 'imports'),
        **make_checkpoint_formats(root),
        **make_run_formats(root / 'runs'),
    }


def make_text_formats(root: Path) -> dict[str, Format]:
    """Annotations, the list of frames, a submission, and the clips of a fold."""

    def read_submission() -> bytes:
        problems = check_submission(root / 'submission.txt', root / 'list.txt')
        if problems:  # reported, as an error is
            raise InvalidValueError('; '.join(problems)[:MAX_MESSAGE])
        return (root / 'submission.txt').read_bytes()

    def read_fold() -> Any:
        names = read_clip_names(str(root / 'fold.txt'), 'fuzz')
        return sorted(read_annotation_folder(root / 'labels', names))

    labels = root / 'labels/video1.txt'
    return {
        'annotation.txt': Format(labels, lambda: read_labels(labels).tobytes()),
        'frame list': Format(
            root / 'list.txt', lambda: describe_table(read_frame_list(root / 'list.txt'))
        ),
        'submission': Format(root / 'submission.txt', read_submission),
        'fold.txt': Format(root / 'fold.txt', read_fold),
    }


def make_image_formats(root: Path) -> dict[str, Format]:
    """Crops as JPEG and PNG, and a packed store of them."""
    pixels = np.add.outer(np.arange(32), np.arange(32))[..., None] * np.array([3, 2, 1])
    image = Image.fromarray(pixels.astype(np.uint8))
    for name in ('crop.jpg', 'crop.png'):
        image.save(root / name)

    def read_image(name: str) -> bytes:
        return read_crop(str(root / name)).tobytes()

    store = str(root / 'crops.lmdb')
    pack_crops(CropFolder(root / 'crops'), store)

    def read_store() -> Any:
        close_store(store)
        crops = PackedCrops(store)
        clips = crops.clips()
        listed = list_crops([crops], clips)
        paths = [
            crops.path(clip, number)
            for clip, number in zip(listed.clip.tolist(), listed.frame_no.tolist(), strict=True)
        ]
        return clips, [read_crop(path).tobytes() for path in paths]

    return {
        'crop.jpg': Format(root / 'crop.jpg', lambda: read_image('crop.jpg')),
        'crop.png': Format(root / 'crop.png', lambda: read_image('crop.png')),
        'packed store': Format(Path(store, 'data.mdb'), read_store, [mutate_pages]),
    }


def mutate_pages(data: bytes, rng: random.Random) -> bytes:
    """Mutate the start of a page of LMDB, which holds offsets, or a record."""
    at = rng.randrange(0, len(data), 4096)
    record = data.find(b'{"bytes"')
    if rng.random() < 0.3 and record > 0:
        at = record
    stop = at + rng.choice((64, 4096))
    return data[:at] + mutate_bytes(data[at:stop], rng)[: stop - at].ljust(stop - at) + data[stop:]


def make_array_formats(root: Path) -> dict[str, Format]:
    """Predictions, the cache of the index, and a folder of features."""
    rng = np.random.default_rng(0)
    score = rng.dirichlet(np.ones(8), 20).astype(np.float32)
    label = score.argmax(1).astype(np.int32)
    columns = dict(gt_label=label, pred_label=label, pred_score=score)
    clip_id, frame_no = (
        np.repeat(np.arange(2, dtype=np.int32), 10),
        np.arange(1, 21, dtype=np.int32),
    )
    predictions = root / 'predictions.npz'
    Predictions(['a', 'b'], clip_id, frame_no, columns).write(predictions)

    folder = root / 'features'
    meta = dict(config='res18', sha256='0' * 64, layer='neck', dim=4, pipeline=[dict(type='x')])
    features = FeatureFolder.start(folder, meta)
    for clip in features.plan(list_crops([CropFolder(root / 'crops')], ['video1', 'video2_left'])):
        features.write(clip, rng.standard_normal((12, 4)))

    def read_features() -> Any:
        opened = FeatureFolder.open(folder)
        opened.check(opened.index.clips)
        frames = [opened.read_frames(clip, 0, 2**31 - 1) for clip in opened.index.clips]
        parts = [(numbers.tobytes(), values.tobytes()) for numbers, values in frames]
        return opened.dim, opened.index.clips, parts, json.dumps(opened.meta)

    indexed = root / 'indexed'  # its files must not change, or the cache would be out of date
    write_dataset(indexed)
    crops = CropFolder(indexed / 'crops')
    cache = IndexCache(indexed / 'cache', str(indexed / 'labels'), [crops], start_index=1)
    reader = FrameReader(
        str(indexed / 'labels'),
        data_root='',
        start_index=1,
        filename_tmpl='{:05d}.jpg',
        clips=None,
        owner='fuzz',
    )

    def list_and_stamp(clips: Sequence[str]) -> FrameTable:
        cache.stamp(clips)
        return list_crops([crops], clips)

    cache.save(reader.read(list_and_stamp))

    def read_cache() -> Any:
        frames: FrameIndex | None = cache.load()
        if frames is None:  # the index is made again
            raise InvalidValueError('rebuilt')
        return describe_table(frames), frames.counts

    arrays = [mutate_members(mutate_array), mutate_members(mutate_bytes)]
    return {
        'predictions.npz': Format(
            predictions, lambda: describe_table(Predictions.read(predictions)), arrays
        ),
        'frame index': Format(cache.path, read_cache),
        'features index.npz': Format(folder / 'index.npz', read_features, arrays),
        'features meta.json': Format(folder / 'meta.json', read_features, [mutate_json]),
        'features clip.npy': Format(folder / 'clips/video1.npy', read_features, [mutate_array]),
    }


def make_import_formats(root: Path) -> dict[str, Format]:
    """Files of features of other programs, without .h5: HDF5 itself hangs on some damage."""
    rng = np.random.default_rng(0)
    root.mkdir()
    folder = FeatureFolder.start(
        root / 'folder', dict(config='res18', sha256='0' * 64, layer='neck', dim=4)
    )
    for clip in folder.plan(FrameTable.from_clips({'a': [1, 2, 4], 'video1_left': [3, 7]})):
        folder.write(clip, rng.standard_normal((len(folder.frame_numbers(clip)), 4)))
    mutations = {
        'npz': [mutate_members(mutate_array), mutate_members(mutate_bytes)],
        'pickle': [mutate_pickle],
    }
    formats = {}
    for kind in mutations:
        path = root / f'rows.{kind}'
        export_features(folder.path, path)
        formats[f'features .{kind}'] = Format(path, partial(read_import, path), mutations[kind])
    return formats


def read_import(path: Path) -> Any:
    """Import a file of features."""
    with tempfile.TemporaryDirectory(dir=path.parent) as out:
        folder = import_features([path], out).folder
        values = [folder.read(clip).tobytes() for clip in folder.index.clips]
        return describe_table(folder.index), values, json.dumps(folder.meta['layer'])


def make_checkpoint_formats(root: Path) -> dict[str, Format]:
    """Checkpoints of torch, new and old, and of safetensors."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(112, generator=generator)  # one storage: old files sort them by address
    tensors = {
        'backbone.conv1.weight': values[:108].view(4, 3, 3, 3),
        'backbone.bn1.running_var': values[108:],
    }
    checkpoint = dict(
        meta=dict(iter=10, seed=1, dataset_meta=dict(classes=('a', 'b'))),
        state_dict=tensors,
        optimizer=dict(state={}, param_groups=[dict(lr=0.1, params=[0, 1])]),
        array=np.arange(6.0).reshape(2, 3),
    )
    torch.save(checkpoint, root / 'new.pth')
    torch.save(checkpoint, root / 'old.pth', _use_new_zipfile_serialization=False)
    address = str(values.untyped_storage()._cdata).encode()  # differs from run to run
    old = (root / 'old.pth').read_bytes()
    (root / 'old.pth').write_bytes(old.replace(address, b'1' * len(address)))
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, root / 'x.safetensors', metadata=dict(by='timm'))

    def mutate_header(data: bytes, rng: random.Random) -> bytes:
        size = int.from_bytes(data[:8], 'little')
        header = mutate_json(data[8 : 8 + size], rng)
        return len(header).to_bytes(8, 'little') + header + data[8 + size :]

    def read(path: Path) -> Any:
        return describe_tree(load_checkpoint_file(path))

    def make(name: str, *mutations: Mutate) -> Format:
        return Format(root / name, lambda: read(root / name), mutations)

    run = root / 'run'
    run.mkdir()
    for step in (10, 20):
        torch.save(checkpoint | dict(meta=dict(iter=step)), run / f'iter_{step}.pth')
    (run / 'last_checkpoint').write_text(str(run / 'iter_20.pth'))
    return {
        'last_checkpoint': Format(run / 'last_checkpoint', lambda: find_latest(str(run))),
        'zip .pth': make('new.pth', mutate_members(mutate_pickle), mutate_members(mutate_bytes)),
        'legacy .pth': make('old.pth', mutate_pickle),
        '.safetensors': make('x.safetensors', mutate_header),
    }


def make_run_formats(root: Path) -> dict[str, Format]:
    """Results of a sweep, the log of a training."""
    work_dir = WorkDir(root)
    folder = work_dir.folder('row', 0)
    (folder / 'time/vis_data').mkdir(parents=True)
    result = dict(
        seed=0,
        macro_f1=31.5,
        accuracy=40.0,
        f1=dict(Neutral=40.0, Anger=20.0),
        iterations=100,
        batch=128,
        time=dict(train_s=10.5, frames_per_s=100.0),
    )
    settings = dict(budget='mini', processes=1, cfg_options={}, data={}, weights=dict(a='0' * 64))
    scalars = [dict(lr=0.1, loss=2.5, time=0.25, step=step, iter=step) for step in (10, 20, 30)]
    files: dict[str, Any] = {
        'result.json': (folder / 'result.json', result, lambda: work_dir.read_result('row', 0)),
        'settings.json': (root / 'settings.json', settings, work_dir.read_settings),
        'stats.json': (
            root / 'row/stats.json',
            dict(trainable=10, total=20, flops=30),
            lambda: work_dir.read_stats('row'),
        ),
    }
    formats = {}
    for name, (path, content, read) in files.items():
        path.write_text(json.dumps(content))
        formats[name] = Format(path, lambda read=read: json.dumps(read()), [mutate_json])
    log = folder / 'time/vis_data/scalars.json'
    log.write_text(''.join(json.dumps(row) + '\n' for row in scalars))

    def mutate_line(data: bytes, rng: random.Random) -> bytes:
        lines = data.splitlines()
        at = rng.randrange(len(lines))
        lines[at] = mutate_json(lines[at], rng)
        return b'\n'.join(lines)

    formats['scalars.json'] = Format(log, lambda: repr(read_step_times(folder)), [mutate_line])
    torch.save(dict(a=torch.ones(3)), folder / 'iter_10.pth')
    torch.save(dict(a=torch.ones(3)), folder / 'iter_20.pth')
    formats['run checkpoint'] = Format(
        folder / 'iter_20.pth', lambda: str(find_last_checkpoint(folder))
    )
    return formats


# ----------------------------------------------------------------------------------- running


def judge(form: Format, original: Any) -> tuple[str, str]:
    """Read a damaged file; returns the outcome and, for a mistake, its description."""
    try:
        value = form.read()
    except UserError as error:
        text = str(error)
        if len(text) > MAX_MESSAGE or '\n' in text:
            return 'long', f'{type(error).__name__} {text[-60:]!r}'
        return 'refused', ''
    except BaseException as error:  # any other kind is what this looks for
        frame = traceback.extract_tb(error.__traceback__)[-1]
        own = [f for f in traceback.extract_tb(error.__traceback__) if 'abaw_mm' in f.filename]
        place = f'{Path(own[-1].filename).name}:{own[-1].lineno}' if own else '?'
        return 'raw', f'{type(error).__name__} at {place}, in {frame.name}'
    # NaN differs from itself; its text does not.
    return ('same' if value == original or repr(value) == repr(original) else 'other'), ''


def apply(form: Format, name: str, number: int, seed: int) -> None:
    """Replace the file of a format by one of its mutations."""
    if form.path.is_dir():
        shutil.rmtree(form.path)
    form.path.write_bytes(form.mutate(random.Random(f'{seed}/{name}/{number}')))


def work(form: Format, name: str, numbers: range, seed: int, pipe: int) -> None:
    """Judge mutations in a child process; sends one line for each."""
    MMLogger.get_current_instance().setLevel(logging.CRITICAL)
    logging.disable(logging.CRITICAL)
    faulthandler.disable()  # pytest's would print the stack of a crash that is counted
    form.path.write_bytes(form.data)
    original = form.read()
    sys.stdout = sys.stderr = open(os.devnull, 'w')
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_LIMIT, used + MEMORY_LIMIT))
    for number in numbers:
        apply(form, name, number, seed)
        outcome, text = judge(form, original)
        os.write(pipe, (json.dumps([number, outcome, text]) + '\n').encode())


def run_child(form: Format, name: str, numbers: range, seed: int) -> Iterator[tuple[int, str, str]]:
    """Fork a process that judges mutations; yields until it ends, crashes or hangs."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reader)
            work(form, name, numbers, seed, writer)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, 'rb', buffering=0) as stream:
        left = b''
        while select.select([stream], [], [], TIME_LIMIT)[0]:
            data = stream.read(1 << 16)
            if not data:
                break
            *lines, left = (left + data).split(b'\n')
            for line in lines:
                yield tuple(json.loads(line))
        else:
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        yield -1, 'hang' if os.WTERMSIG(status) == signal.SIGKILL else 'crash', f'status {status}'


def fuzz(form: Format, name: str, mutations: int, seed: int = 0) -> tuple[Counter, dict[str, str]]:
    """Judge mutations of one format.

    Returns:
        tuple: The number of each outcome, and a mutation of each kind of mistake.
    """
    counts: Counter = Counter()
    mistakes: dict[str, str] = {}
    done = 0
    while done < mutations:
        start = done
        for number, outcome, text in run_child(form, name, range(done, mutations), seed):
            counts[outcome] += 1
            if outcome in MISTAKES:
                number = done if number < 0 else number
                mistakes.setdefault(f'{outcome} {text}', f'{name}:{number}')
            done += 1
        if done == start:
            raise RuntimeError(f'{name}: the process that judges its mutations does not start')
    form.path.write_bytes(form.data)
    return counts, mistakes


def show(formats: dict[str, Format], place: str, seed: int) -> None:
    """Apply one mutation in this process, with the traceback of what it raises."""
    name, _, number = place.rpartition(':')
    form = formats[name]
    apply(form, name, int(number), seed)
    print(form.read())


def fuzz_alone(name: str, mutations: int, seed: int) -> tuple[str, Counter, dict[str, str], float]:
    """Judge mutations of one format in a folder of its own; adds the seconds."""
    torch.set_num_threads(1)
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        form = make_formats(Path(folder, 'data'))[name]
        return name, *fuzz(form, name, mutations, seed), time.time() - start


def write_report(path: Path, args: argparse.Namespace, rows: dict[str, dict]) -> None:
    """Write the counts of all formats with the command and the machine."""
    cpu = next(
        line.split(': ')[1]
        for line in Path('/proc/cpuinfo').read_text().splitlines()
        if line.startswith('model name')
    )
    report = dict(
        command=' '.join(['python', *sys.argv]),
        machine=f'{os.cpu_count()} cores of {cpu}, {platform.system()}',
        versions=f'Python {platform.python_version()}, torch {torch.__version__}, NumPy '
        f'{np.__version__}, Pillow {PIL.__version__}',
        seed=args.seed,
        mutations=args.mutations,
        formats=rows,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + '\n')


def main() -> int:
    """Fuzz all formats; returns 1 if there is any mistake."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--mutations', type=int, default=1000, help='for each format')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--formats', nargs='+', help='names of formats; default: all')
    parser.add_argument('--jobs', type=int, default=1, help='formats that are judged at once')
    parser.add_argument('--show', metavar='FORMAT:NUMBER', help='repeat one mutation')
    parser.add_argument('--out', type=Path, help='file for the counts (.json)')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        formats = make_formats(Path(folder, 'data'))
        if args.show:
            show(formats, args.show, args.seed)
            return 0
    failed = False
    rows = {}
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context('fork')) as pool:
        names = args.formats or list(formats)
        results = [pool.submit(fuzz_alone, name, args.mutations, args.seed) for name in names]
        for result in results:
            name, counts, mistakes, seconds = result.result()
            rows[name] = dict(sorted(counts.items()))
            print(f'{name:20} {rows[name]} in {seconds:.0f} s', flush=True)
            for text, place in mistakes.items():
                failed = True
                print(f'    {place}: {text}', flush=True)
    if args.out:
        write_report(args.out, args, rows)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
