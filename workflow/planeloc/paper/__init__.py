"""The paper's experiments, made again, and their report: Aritake et al., Neurocomputing 451 (2021) 279-289."""
