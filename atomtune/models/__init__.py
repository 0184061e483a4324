"""Base models: loading, prompt embeddings, and their cached decompositions."""
