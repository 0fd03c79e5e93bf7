"""The command line and its configuration."""

from . import certify as certify
from . import cli as cli
from . import config as config
from . import experiment as experiment
