"""Training one job of trials: state, optimizers, losses, steps, batches, the loop on the host, checkpoints."""
