"""Learning coefficients and multiplicities of polynomials by algebra."""

from .rlct import exact_rlct as exact_rlct
