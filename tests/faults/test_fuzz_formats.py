"""Damaged files of every format end in a value or in an error for the user, without a crash."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

NAMES = (
    'annotation.txt',
    'frame list',
    'submission',
    'fold.txt',
    'crop.jpg',
    'crop.png',
    'packed store',
    'predictions.npz',
    'frame index',
    'features index.npz',
    'features meta.json',
    'features clip.npy',
    'features .npz',
    'features .pickle',
    'zip .pth',
    'legacy .pth',
    '.safetensors',
    'last_checkpoint',
    'result.json',
    'settings.json',
    'stats.json',
    'scalars.json',
    'run checkpoint',
)
# Formats that notice every change of their content: none of the mutations of their bytes may pass
# as another value.
CHECKED = ('crop.png', 'frame index')


@pytest.fixture(scope='module')
def fuzz() -> ModuleType:
    """Import benchmarks/fuzz_formats.py."""
    path = Path(__file__).parents[2] / 'benchmarks/fuzz_formats.py'
    spec = importlib.util.spec_from_file_location('fuzz_formats', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def formats(fuzz: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Write a small file of each format."""
    return fuzz.make_formats(tmp_path_factory.mktemp('fuzz') / 'data')


def check(fuzz: ModuleType, formats: dict, name: str, mutations: int, seed: int) -> None:
    counts, mistakes = fuzz.fuzz(formats[name], name, mutations, seed)
    assert mistakes == {}
    assert sum(counts.values()) == mutations
    if name in CHECKED:
        assert counts['other'] == 0


def test_every_format_is_listed(formats):
    assert sorted(formats) == sorted(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_damage_ends_in_a_value_or_an_error(fuzz, formats, name):
    check(fuzz, formats, name, mutations=150, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_much_damage_ends_in_a_value_or_an_error(fuzz, formats, name):
    check(fuzz, formats, name, mutations=3000, seed=1)


def test_crash_hang_and_other_errors_are_found(fuzz, formats, tmp_path, monkeypatch):
    """The judge itself: what must not happen is counted."""
    monkeypatch.setattr(fuzz, 'TIME_LIMIT', 1.0)
    path = tmp_path / 'x'
    path.write_bytes(b'\0')
    acts = {0: lambda: 'value', 1: lambda: 1 / 0, 2: fuzz.os.abort, 3: lambda: fuzz.time.sleep(60)}

    class Judged(fuzz.Format):
        def mutate(self, rng):
            return bytes([numbers.pop(0)])

    for number, outcome in ((0, 'same'), (1, 'raw'), (2, 'crash'), (3, 'hang')):
        numbers = [number]
        form = Judged(path, lambda: acts[path.read_bytes()[0]]())
        counts, _ = fuzz.fuzz(form, 'x', 1)
        assert counts == {outcome: 1}
