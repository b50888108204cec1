"""The model of the cost of several GPUs."""

import pytest
import torch
from torch import nn

from abaw_mm.engine.processes.scaling import (
    Cluster,
    StepCost,
    count_gradient_bytes,
    find_useful_gpus,
)


def test_bytes_of_trainable_gradients():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(5, 2).requires_grad_(False))
    assert count_gradient_bytes(model) == 4 * (3 * 4 * 9 + 4)
    assert count_gradient_bytes(model.to(torch.bfloat16)) == 2 * (3 * 4 * 9 + 4)


def test_ring_sends_each_byte_twice():
    cluster = Cluster(gpus_per_node=4, node_gbps=80, network_gbps=8, latency_s=0)
    assert cluster.time_all_reduce(1e9, 1) == 0
    assert cluster.time_all_reduce(1e9, 2) == pytest.approx(1e9 / 1e10)  # 10 GB/s
    assert cluster.time_all_reduce(1e9, 4) == pytest.approx(1.5e9 / 1e10)
    assert cluster.time_all_reduce(1e9, 8) == pytest.approx(1.75e9 / 1e9)  # the network
    slow = Cluster(gpus_per_node=4, node_gbps=80, network_gbps=8, latency_s=1e-3)
    assert slow.time_all_reduce(0, 4) == pytest.approx(6e-3)


def test_update():
    cluster = Cluster(gpus_per_node=1, network_gbps=8, latency_s=0)
    cost = StepCost(fixed_s=0.01, frame_s=0.001, gradient_bytes=100_000_000)
    assert cost.time_update(cluster, 1, 128) == pytest.approx(0.138)
    assert cost.time_update(cluster, 2, 64) == pytest.approx(0.074 + 0.1)
    assert cost.time_update(cluster, 2, 64, accumulated=4) == pytest.approx(4 * 0.074 + 0.1)
    assert cost.time_update(cluster, 2, 64, compression=0.5) == pytest.approx(0.074 + 0.05)
    assert cost.time_update(cluster, 2, 64, overlap=0.5) == pytest.approx(0.074 + 0.063)
    assert cost.time_update(cluster, 2, 640, overlap=1) == pytest.approx(0.65)


def test_useful_gpus():
    assert find_useful_gpus({1: 1, 2: 1.3, 4: 1.5}) == 2
    assert find_useful_gpus({1: 1, 2: 1.1}) == 1
