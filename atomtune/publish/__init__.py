"""Publishing a concept: a folder, or a repository of the Hugging Face hub, with a model card."""
