"""Checks of the installation, for `atomtune doctor`."""
