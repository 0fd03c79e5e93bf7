"""The Rashomon laboratory: ensembles of minima, their spectra, how often each is found, and how they connect."""

from slt.rashomon.ensemble import Ensemble as Ensemble
from slt.rashomon.ensemble import settle as settle
from slt.rashomon.ensemble import train_ensemble as train_ensemble
from slt.rashomon.spectra import Spectra as Spectra
from slt.rashomon.spectra import spectra as spectra
from slt.rashomon.spectra import threshold_sensitivity as threshold_sensitivity
