.PHONY: help check test slow bench
help:            ## this list
	@sed -n 's/^\([a-z]*:\).*## /\1 /p' Makefile
check:           ## lint and types
	ruff check . && ruff format --check . && pyright
test:            ## the fast tests, two minutes on two cores
	pytest -n 2
slow:            ## all other tests that need no GPU, browser or cluster, most of an hour
	pytest -n 2 -m "(slow or long) and not gpu and not browser and not slurm"
bench:           ## every comparison, written to benchmarks/
	python scripts/bench.py
