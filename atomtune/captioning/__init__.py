"""Captions by a model: `atomtune caption`."""
