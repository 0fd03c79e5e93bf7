"""Arrays in, `Estimate` out: learning coefficients, criteria, free energies, phases. Nothing here runs a chain."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
