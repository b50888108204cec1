"""Seed the random transforms of each training batch, in whichever process they run."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dist import get_rank
from torch.utils.data import DataLoader

from abaw_mm.datasets.samplers.keyed_random import random_keys, seed_generators

BATCHES = 1  # keys of batches begin with the seed of the run and this number


class SeededBatches:
    """A batch sampler that puts a key of random numbers before the indices of each batch.

    Args:
        batches (Sampler): The batch sampler. Other attributes are read from it.
        seed (int): Seed of the run.
        number (int): Number of the next batch, counted from the first step of the run.
    """

    def __init__(self, batches: Any, seed: int, number: int) -> None:
        self.batches = batches
        self.seed = seed
        self.number = number

    def __iter__(self) -> Iterator[list]:
        for batch in self.batches:
            [key] = random_keys(self.seed, BATCHES, get_rank(), self.number)
            self.number += 1
            yield [key, *batch]

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        if name == 'batches':  # not set yet
            raise AttributeError(name)
        return getattr(self.batches, name)


class SeededReader:
    """Read a batch of a dataset after seeding the generators of this process.

    Args:
        dataset (Dataset): The dataset.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __call__(self, batch: list) -> list:
        key, *indices = batch
        seed_generators(np.uint64(key))
        return [self.dataset[index] for index in indices]


def seed_batches(loader: DataLoader, seed: int, number: int) -> None:
    """Make the random transforms of each batch depend on seed, rank and number of the batch alone.

    So they do not depend on the number of workers, and not on the step that a run was resumed from.
    Call it before the loader is iterated.

    Args:
        loader (DataLoader): A data loader of batches. It is changed in place.
        seed (int): Seed of the run.
        number (int): Number of the first batch, counted from the first step of the run.
    """
    dataset: Any = loader.dataset
    dataset.__getitems__ = SeededReader(dataset)  # torch calls it for each batch
    batches: Any = SeededBatches(loader.batch_sampler, seed, number)
    vars(loader)['batch_sampler'] = batches  # a DataLoader refuses to replace it by assignment
