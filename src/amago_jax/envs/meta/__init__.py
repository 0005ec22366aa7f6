"""Meta-learning: several attempts at one hidden task."""
