"""From a target to numbers: choose and tune a sampler, run it, judge it, estimate."""
