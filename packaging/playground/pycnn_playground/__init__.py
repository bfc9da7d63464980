"""The page of pycnn, one file: `pycnn playground` shows it."""
