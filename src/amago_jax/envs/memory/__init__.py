"""Environments that test memory."""
