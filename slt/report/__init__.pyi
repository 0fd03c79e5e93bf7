"""What is shown: tables for the terminal, figures, the HTML page."""

from . import page as page
from . import plots as plots
from . import tables as tables
from . import views as views
