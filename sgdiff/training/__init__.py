"""How any model here is trained: steps, checkpoints, many processes."""
