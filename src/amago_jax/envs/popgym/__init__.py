"""POPGym's tasks (Morad et al. 2023, arXiv 2303.01859)."""
