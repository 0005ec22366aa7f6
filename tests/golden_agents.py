"""Agents, batches and draws of the golden files of whole learning steps."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from amago_jax.agents import LossDraws
from amago_jax.agents.amago import build_amago_agent
from amago_jax.agents.multitask import MultiTaskAgent, build_multitask_agent
from amago_jax.learning.learner import make_optimizer
from amago_jax.models.distributions import make_distribution
from amago_jax.models.timestep_encoders import FeedForwardTimestepEncoder
from amago_jax.models.transformer import Transformer
from amago_jax.types import Batch, Timestep

AMAGO = ["agent_discrete", "agent_discrete_nstep3", "agent_continuous"]
MULTITASK = ["multitask_discrete", "multitask_continuous"]


def agent_of(golden, dtype="float32"):
    meta = golden.meta
    hidden = meta["hidden"]
    one_hot = np.isin(golden["step0/actions"], (0, 1, meta["pad_value"])).all()
    kind = "discrete" if one_hot else "continuous"
    settings = {
        "distribution": make_distribution("natural", actions=meta["action_dim"], kind=kind),
        "timestep_encoder": FeedForwardTimestepEncoder(hidden, 2, hidden, dtype=dtype),
        "trajectory_encoder": Transformer(
            context_length=meta["max_seq_len"],
            width=meta["d_model"],
            heads=meta["n_heads"],
            feedforward_width=meta["d_ff"],
            layers=meta["n_layers"],
            dropout=0.0,
            dtype=dtype,
        ),
        "gammas": tuple(meta["gammas"]),
        "critics": meta["num_critics"],
        "hidden_size": hidden,
        "critics_per_target": meta["num_critics_td"],
        "tau": meta["tau"],
        "reward_multiplier": meta["reward_multiplier"],
        "online_coeff": meta["online_coeff"],
        "offline_coeff": meta["offline_coeff"],
        "critic_loss_weight": meta["critic_loss_weight"],
        "n_step": meta["n_step"],
        "action_samples": meta["K_actor"],
        "target_action_samples": meta["K_critic"],
        "detailed_metrics": False,
    }
    if meta["agent"] == "MultiTaskAgent":
        bins = {name: meta[name] for name in ("bins", "min_return", "max_return")}
        return build_multitask_agent(**settings, **bins)
    return build_amago_agent(**settings)


def optimizer_of(golden):
    """The optimizer, which the files' meta describes in words."""
    text = golden.meta["optimizer"]

    def number(words):
        return float(re.search(rf"{words} ([\d.e-]*\d)", text).group(1))

    return make_optimizer(
        number("lr"),
        weight_decay=number("weight_decay"),
        warmup_updates=int(number("warmup")),
        clip_norm=number("clip"),
    )


def batch_of(golden, step, discrete):
    data = golden.under(f"step{step}")
    observation, rl2 = data["obs"], data["rl2s"]
    # Rows are padded on the right with a value that no real observation takes throughout.
    valid = np.any(observation != golden.meta["pad_value"], axis=-1)
    terminated = np.pad(data["dones"][..., 0], ((0, 0), (1, 0))) & valid
    action = rl2[..., 1:]
    previous = np.where(action.any(-1), action.argmax(-1), -1) if discrete else action
    last = valid & ~np.pad(valid[:, 1:], ((0, 0), (0, 1)))
    time = data["time_idxs"][..., 0].astype(np.int32)
    timesteps = Timestep(
        observation={"observation": observation},
        previous_action=previous.astype(np.int32 if discrete else np.float32),
        previous_reward=rl2[..., 0],
        time=time,
        is_first=valid & (time == 0),
        is_last=last,
        terminated=terminated,
    )
    return Batch(timesteps, valid.astype(np.int32))


def draws_of(golden, agent, step):
    """What the authors' loss drew; who drew which is said in the files' README."""
    data = golden.under(f"step{step}")
    if agent.exact_expectations:
        policy = target = None
    elif isinstance(agent, MultiTaskAgent):
        target, policy = (noise_of(data, agent, str(index)) for index in (0, 1))
    else:
        k, n = agent.action_samples, agent.target_action_samples
        policy = jnp.stack([data[f"normal_noise{i}"] for i in range(k)])
        target = jnp.stack([data[f"normal_noise{i}"] for i in range(k, k + n)])
    return LossDraws(
        critic_subset=data["critic_subset0"][..., 0],
        policy_noise=policy,
        target_noise=target,
        dropout=jax.random.key(0),
    )


def noise_of(data, agent, index):
    if agent.discrete:
        # Gumbel noise so large that the recorded action wins.
        return 1e4 * data["sampled_actions" + index]
    return data["normal_noise" + index]
