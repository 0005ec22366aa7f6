"""amago_jax: AMAGO in JAX, on the accelerator from end to end."""
