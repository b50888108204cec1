"""Model of the time of a training step on several GPUs and machines."""

from dataclasses import dataclass

from torch import nn

BITS = 8  # per byte


def count_gradient_bytes(model: nn.Module) -> int:
    """Count the bytes that DDP sums over the processes in an update: the trainable gradients.

    >>> count_gradient_bytes(nn.Sequential(nn.Linear(3, 2), nn.Linear(9, 9).requires_grad_(False)))
    32
    """
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


@dataclass(frozen=True)
class Cluster:
    """GPUs and links.

    Attributes:
        gpus_per_node (int): Number of GPUs of a machine.
        node_gbps (float): Rate of a GPU's link inside a machine, in Gbit/s per direction.
        network_gbps (float): Rate between two machines, in Gbit/s per direction.
        latency_s (float): Time of one message, in seconds.
    """

    gpus_per_node: int = 8
    node_gbps: float = 200.0
    network_gbps: float = 25.0
    latency_s: float = 2e-5

    def time_all_reduce(self, num_bytes: float, gpus: int) -> float:
        """Return the seconds of summing gradients in a ring over all GPUs.

        Each GPU sends 2 (n - 1) / n of the bytes in 2 (n - 1) messages (Patarasuk and Yuan,
        doi:10.1016/j.jpdc.2008.09.002). The slowest link bounds the ring: the network, if there are
        several machines.

        >>> Cluster(network_gbps=8, latency_s=0).time_all_reduce(1e9, 16)
        1.875
        """
        if gpus == 1:
            return 0.0
        rate = self.node_gbps if gpus <= self.gpus_per_node else self.network_gbps
        turns = 2 * (gpus - 1)
        return turns / gpus * num_bytes * BITS / (rate * 1e9) + turns * self.latency_s


@dataclass(frozen=True)
class StepCost:
    """Time of an update on one GPU.

    Attributes:
        fixed_s (float): Part that does not depend on the batch, in seconds: launches, optimizer.
        frame_s (float): Seconds per frame.
        gradient_bytes (int): See :func:`count_gradient_bytes`.
    """

    fixed_s: float
    frame_s: float
    gradient_bytes: int

    def time_update(
        self,
        cluster: Cluster,
        gpus: int,
        batch: int,
        accumulated: int = 1,
        compression: float = 1.0,
        overlap: float = 0.0,
    ) -> float:
        """Return the seconds of an update of the weights.

        Args:
            cluster (Cluster): The GPUs and links.
            gpus (int): Number of processes.
            batch (int): Frames of a step on each GPU.
            accumulated (int): Steps per update (``accumulative_counts``). Gradients are summed once
                per update.
            compression (float): Factor of the bytes: 0.5 with ``GradientCompressionHook``.
            overlap (float): Part of the last step during which gradients are summed already, 0..1.
                DDP sums those of the last layers while it computes the first ones. Defaults to 0,
                the upper bound of the time.
        """
        step = self.fixed_s + batch * self.frame_s
        reduce = cluster.time_all_reduce(compression * self.gradient_bytes, gpus)
        return accumulated * step + max(0.0, reduce - overlap * step)


def find_useful_gpus(rates: dict[int, float], gain: float = 1.25) -> int:
    """Return the number of GPUs up to which each doubling makes a training faster by a factor.

    Args:
        rates (dict): Number of GPUs, each the double of the one before, to frames per second.
        gain (float): Smallest factor that is worth twice the GPUs. Defaults to 1.25.

    >>> find_useful_gpus({1: 100, 2: 190, 4: 300, 8: 320, 16: 640})
    4
    """
    numbers = list(rates)
    for before, after in zip(numbers, numbers[1:], strict=False):
        if rates[after] < gain * rates[before]:
            return before
    return numbers[-1]
