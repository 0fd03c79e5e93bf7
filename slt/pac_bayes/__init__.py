"""PAC-Bayes bounds, KL of the pushforward of an initialisation through training, Gaussian and Gibbs posteriors."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
