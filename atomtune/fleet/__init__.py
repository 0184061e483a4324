"""`atomtune fleet`: many concepts, learned by workers that hold the base model; the engine is Ray."""
