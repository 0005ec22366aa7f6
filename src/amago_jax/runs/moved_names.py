"""Where the parts that older configurations name are today.

A saved run names its parts by module and name. Modules that moved are looked up here, so that it
loads still.
"""

MOVED = {
    "amago_jax.agent": "amago_jax.agents.agent",
    "amago_jax.amago": "amago_jax.agents.amago",
    "amago_jax.exploration": "amago_jax.acting.exploration",
    "amago_jax.instructions": "amago_jax.hindsight.instructions",
    "amago_jax.learner": "amago_jax.learning.learner",
    "amago_jax.multitask": "amago_jax.agents.multitask",
    "amago_jax.replay": "amago_jax.learning.replay",
}


def current_name(target: str) -> str:
    """Return the name that a ``_target_`` has today."""
    module, _, name = target.rpartition(".")
    return f"{MOVED.get(module, module)}.{name}"
