"""Other methods on the same streams, to compare with: recurrent PPO."""

from amago_jax.baselines.agent import PPOAgent, make_ppo_agent
from amago_jax.baselines.losses import generalized_advantages
from amago_jax.baselines.ppo import PPO, PPOSettings, PPOState

__all__ = [
    "PPO",
    "PPOAgent",
    "PPOSettings",
    "PPOState",
    "generalized_advantages",
    "make_ppo_agent",
]
