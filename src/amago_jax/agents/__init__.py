"""Agents: networks that act with memory, and the losses that teach them."""

from amago_jax.agents.agent import Agent
from amago_jax.agents.amago import AmagoAgent, build_amago_agent
from amago_jax.agents.analysis import Analysis
from amago_jax.agents.multitask import MultiTaskAgent, build_multitask_agent
from amago_jax.agents.state import AgentState, LossDraws

__all__ = [
    "Agent",
    "AgentState",
    "AmagoAgent",
    "Analysis",
    "LossDraws",
    "MultiTaskAgent",
    "build_amago_agent",
    "build_multitask_agent",
]
