"""The experiments of the paper (Aritake et al. 2021), recomputed, and those that it leaves out.

`images` draws what is looked at, `estimators` are what looks at it, `one_molecule`, `sweeps`, `helix`, `speed` and
`bound` are the experiments, each a pure function of its settings and seed that ends in one JSON file. `published`
holds what the paper prints, `measures` how errors are summed up, `figures` and `report` make the page of it.
"""
