"""The verbs of the command line, one a file, whose docstring is the verb's help."""
