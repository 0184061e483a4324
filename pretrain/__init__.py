"""The recipe that trains `pocket` from nothing: `python -m pretrain --work DIR`.

Stages, in order: render, autoencoder, latents, denoiser, grader, export, evaluate, card. Each one resumes by itself.
"""
