"""The mathematics of filter atoms: tensors in, tensors out, nothing of diffusion."""
