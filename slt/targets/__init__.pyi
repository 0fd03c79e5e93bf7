"""WHAT is sampled: a loss, its data and a prior become one energy, from models of any framework."""

from .components import components as components
from .gaussian import Gaussian as Gaussian
from .gaussian import gaussian_law as gaussian_law
from .interop import model_target as model_target
from .minimise import polish as polish
from .numpyro_models import numpyro_log_likelihood as numpyro_log_likelihood
from .numpyro_models import numpyro_target as numpyro_target
from .target import Target as Target
from .target import loss_target as loss_target
from .target import potential_target as potential_target
from .views import as_function as as_function
from .weights import load_weights as load_weights
