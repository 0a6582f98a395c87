"""The page about a run: what it shows is gathered, drawn and written by one module each."""
