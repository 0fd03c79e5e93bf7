"""Arrays in, `Estimate` out: learning coefficients, criteria, free energies, phases. Nothing here runs a chain."""

from .covariances import covariances as covariances
from .criteria import bayes_loss as bayes_loss
from .criteria import functional_variance as functional_variance
from .criteria import gibbs_loss as gibbs_loss
from .criteria import importance_loo as importance_loo
from .criteria import singular_fluctuation as singular_fluctuation
from .criteria import waic as waic
from .criteria import wbic as wbic
from .free_energy import fit_rlct as fit_rlct
from .free_energy import thermodynamic_integral as thermodynamic_integral
from .learning_coefficient import llc as llc
from .learning_coefficient import llc_two_temperature as llc_two_temperature
from .learning_coefficient import llc_variance as llc_variance
from .learning_coefficient import plateau as plateau
from .per_datum import pointwise as pointwise
from .psis import psis_loo as psis_loo
from .replicates import log_mean as log_mean
from .replicates import replicate_mean as replicate_mean
from .response import Response as Response
from .stage import stages as stages
from .transition import Phase as Phase
from .transition import compare_free_energies as compare_free_energies
from .transition import compare_phases as compare_phases
