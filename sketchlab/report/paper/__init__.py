"""What a paper needs of many runs: models × data sets, equivalence, cost, budget, who errs where, sources."""
