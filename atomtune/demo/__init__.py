"""`atomtune demo`: everything on the miniature model, with a page that shows it."""
