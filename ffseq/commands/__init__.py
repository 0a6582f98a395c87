"""The verbs of the command line, one per file; each has `run(verb, arguments, interrupted) -> exit status`."""
