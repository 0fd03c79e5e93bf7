"""HOW: kernels for exp(-U), runs of many chains, tempered and nested sampling."""

from .langevin import Info as Info
from .langevin import Sampler as Sampler
from .langevin import leimkuhler_matthews as leimkuhler_matthews
from .langevin import preconditioned as preconditioned
from .langevin import sghmc as sghmc
from .langevin import sgld as sgld
from .langevin import sgnht as sgnht
from .mcmc import hmc as hmc
from .mcmc import mala as mala
from .mcmc import mclmc as mclmc
from .mcmc import nuts as nuts
from .run import sample as sample
from .tempering import tempered_smc as tempered_smc
