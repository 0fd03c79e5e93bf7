"""One seed of a user, and from it one for everything that is drawn: no two share a stream, whatever the seeds are."""

import hashlib


def derived_seed(seed: int, *what: str | float | None) -> int:
    """A seed of 32 bits for one use of a user's seed, by SHA-256 of both.

    `seed + 1` would be the first stream of the neighbouring seed, so that seeds 0, 1, 2 were no independent replicates;
    and two points of a curve that share a seed have errors that move together. It depends on nothing but its arguments:
    points may be added or left out.

    Args:
        seed: of the whole. what: names of the use, or the coordinate of the point.
    """
    parts = [repr(part if part is None or isinstance(part, str) else float(part)) for part in what]
    return int.from_bytes(hashlib.sha256(" ".join([str(int(seed)), *parts]).encode()).digest()[:4])
