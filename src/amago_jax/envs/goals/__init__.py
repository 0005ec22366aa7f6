"""Tasks that follow instructions, whose goals can be relabelled in hindsight."""
