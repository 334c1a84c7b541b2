"""Flax models by name, behind one signature, and the convolutions that stay fast under vmap and in loops."""

from blurjax.models.application import ModelContext, apply, build, register

__all__ = ["ModelContext", "apply", "build", "register"]
