"""Results as tables for the terminal; they read well at 100 columns."""

from slt.report.tables.base import COLOURS as COLOURS
from slt.report.tables.base import Column as Column
from slt.report.tables.base import fraction as fraction
from slt.report.tables.base import interval as interval
from slt.report.tables.base import number as number
from slt.report.tables.base import plus_minus as plus_minus
from slt.report.tables.base import table as table
from slt.report.tables.base import verdict as verdict
from slt.report.tables.bounds import bound_report_table as bound_report_table
from slt.report.tables.catalogue import agrees as agrees
from slt.report.tables.catalogue import covers as covers
from slt.report.tables.catalogue import exact_table as exact_table
from slt.report.tables.catalogue import potentials_table as potentials_table
from slt.report.tables.catalogue import validation_table as validation_table
from slt.report.tables.catalogue import volume_table as volume_table
from slt.report.tables.comparison import comparison_table as comparison_table
from slt.report.tables.comparison import correlation_table as correlation_table
from slt.report.tables.criteria import criteria_table as criteria_table
from slt.report.tables.criteria import free_energy_table as free_energy_table
from slt.report.tables.llc import answer as answer
from slt.report.tables.llc import calibration_table as calibration_table
from slt.report.tables.llc import profile_table as profile_table
from slt.report.tables.llc import result_table as result_table
from slt.report.tables.llc import series_table as series_table
from slt.report.tables.response import response_table as response_table
