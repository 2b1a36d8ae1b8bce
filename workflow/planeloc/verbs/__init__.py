"""The verbs of the command line, one per stage: parse, call one function, write down what was done."""
