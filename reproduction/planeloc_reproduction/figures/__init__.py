"""The figures of the reproduction, one module for each experiment."""
