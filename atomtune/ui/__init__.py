"""The page of `atomtune ui`: teach, try, compare, library and health, over the functions that the commands call."""
