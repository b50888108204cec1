#!/usr/bin/env python
"""List what this Python lacks to run benchmarks/cuda.sh, one requirement per line.

    python benchmarks/missing_wheels.py

Any installed version counts: an image with PyTorch for CUDA has its own. On a machine with a
network, fetch the wheels for the Python of the other machine, such as 3.12:

    python -m pip download --no-deps --only-binary=:all: --python-version 3.12 \\
        --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \\
        --dest wheels REQUIREMENT...

Packages without a wheel are built with ``python -m pip wheel --no-deps``. Only the standard library
is needed here.
"""

import re
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[1] / 'requirements/cuda.txt'
OTHERS = {'opencv-python': ('opencv-python-headless',)}  # distributions of the same modules


def read_requirements() -> dict[str, str]:
    """Return the requirements for this Python by the names of the distributions."""
    lines = [line.split('#')[0].strip() for line in REQUIREMENTS.read_text().splitlines()]
    return {re.split('[=<>;]', line)[0].strip(): line for line in lines if line}


def is_installed(name: str) -> bool:
    """Return whether a distribution is installed, in any version."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def find_missing() -> list[str]:
    """Return the requirements of which no version is installed."""
    return [
        line
        for name, line in read_requirements().items()
        if not any(is_installed(other) for other in (name, *OTHERS.get(name, ())))
    ]


if __name__ == '__main__':
    print('\n'.join(find_missing()))
