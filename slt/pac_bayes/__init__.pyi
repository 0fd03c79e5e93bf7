"""PAC-Bayes bounds, KL of the pushforward of an initialisation through training, Gaussian and Gibbs posteriors."""

from .bounds import FAMILIES as FAMILIES
from .bounds import family_bound as family_bound
from .bounds import kl_bound as kl_bound
from .certificate import bound_table as bound_table
from .gaussian import fit_gaussian as fit_gaussian
from .gaussian import gaussian_certificate as gaussian_certificate
from .gibbs import gibbs_kl as gibbs_kl
from .gibbs import kl_floor as kl_floor
from .holdout import holdout_bound as holdout_bound
from .holdout import single_draw_bound as single_draw_bound
from .kl import KL as KL
from .laws import flat_loss as flat_loss
from .laws import mlp_law as mlp_law
from .pushforward import drawn_log_ratio as drawn_log_ratio
from .pushforward import kl_curve as kl_curve
from .pushforward import push_forward as push_forward
from .pushforward import pushforward_kl as pushforward_kl
from .steps import gradient_descent as gradient_descent
