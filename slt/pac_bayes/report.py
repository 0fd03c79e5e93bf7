"""What `slt bound` leaves behind: certificates, the curve of the pushforward, three measures of each network."""

from typing import NamedTuple


class Certified(NamedTuple):
    """One certificate: with probability `confidence` the true risk of this posterior is at most `bound`.

    train_error: what went into the bound, Monte Carlo paid for, on the num_data data that count. test_error: plain
    mean on the test set, with no guarantee. kl: KL or log dQ/dP [nats], NaN where none enters; note: what was paid for.
    """

    posterior: str
    bound: float
    confidence: float
    family: str
    train_error: float
    test_error: float
    kl: float
    num_data: int
    seconds: float
    note: str


class Stopped(NamedTuple):
    """The one certified training, stopped after `steps`: log dQ/dP [nats] and what a bound there would say."""

    steps: int
    loss: float
    train_error: float
    test_error: float
    log_ratio: float
    bound: float


class Measured(NamedTuple):
    """One trained network by three measures.

    kl, bound: of the optimised Gaussian posterior around it [nats], [1]. volume_bits: -log2 of the prior mass of its
    basin in the quadratic approximation at the height 1/(n beta) [bits]. llc: with its standard error, at the same
    n beta and prior. free_energy: n L_n(w*) + llc log n, Watanabe's WBIC [nats], with its standard error.
    """

    network: str
    num_params: int
    train_loss: float
    test_error: float
    kl: float
    bound: float
    volume_bits: float
    llc: float
    llc_error: float
    free_energy: float
    free_energy_error: float
    verdict: str


class FamilyRow(NamedTuple):
    """One bound on the Gaussian posterior: chosen beforehand, and paid for as one of all."""

    family: str
    event: str
    alone: float
    paid: float


class BoundReport(NamedTuple):
    """The whole of it; `families` are the bounds on the Gaussian posterior side by side."""

    certificates: list[Certified]
    curve: list[Stopped]
    families: list[FamilyRow]
    measures: list[Measured]


ROWS = {"certificates": Certified, "curve": Stopped, "families": FamilyRow, "measures": Measured}
"""The row of each table of a report, for `store.load_tables`."""
