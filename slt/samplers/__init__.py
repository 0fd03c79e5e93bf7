"""HOW: kernels for exp(-U), runs of many chains, tempered and nested sampling."""

import lazy_loader

from slt.forks import check_not_forked

check_not_forked()  # BlackJAX computes while it is imported
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
