"""Networks: pure of environments, replay and configuration."""
