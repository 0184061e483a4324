"""The Python API behind `import atomtune`; the names to use are those of `atomtune` itself."""
