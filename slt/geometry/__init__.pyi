"""The landscape around a point: curvature operators, spectra, ranks, volumes, behaviour."""

from .behaviour import behaviour_manifold as behaviour_manifold
from .behaviour import behavioural_gradients as behavioural_gradients
from .behaviour import flat_dimensions as flat_dimensions
from .behaviour import neural_tangent_kernel as neural_tangent_kernel
from .behaviour import rank_claim as rank_claim
from .curvature import curvature_spectrum as curvature_spectrum
from .curvature import curvature_split as curvature_split
from .curvature import hessian_eigenvalues as hessian_eigenvalues
from .curvature import log_determinant as log_determinant
from .eigenpairs import extreme_eigenpairs as extreme_eigenpairs
from .eigenpairs import smallest_eigenvalue as smallest_eigenvalue
from .lanczos import lanczos_spectrum as lanczos_spectrum
from .operators import Network as Network
from .operators import gauss_newton as gauss_newton
from .operators import hessian as hessian
from .operators import mlp_network as mlp_network
from .operators import network as network
from .rank import numerical_rank as numerical_rank
from .spectrum import Spectrum as Spectrum
from .spectrum import count_below as count_below
from .spectrum import effective_dimension as effective_dimension
from .spectrum import log_det as log_det
from .volume import hessian_volumes as hessian_volumes
