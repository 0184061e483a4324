"""Image classifiers: tuned by the same methods as diffusion models, scored, and looked into by Grad-CAM."""
