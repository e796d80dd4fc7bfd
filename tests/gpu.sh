#!/usr/bin/env bash
# Checks and times training on a GPU: run it from the project's root with the project installed.
set -euo pipefail
python -m pytest -q tests/training/test_gpu.py
nas-mnist explain c6rn-m2-c8rn-g-c10k1 --dataset digits --epochs 2 --seeds 2 --decision batch-norm --device cuda --results-dir "$(mktemp -d)"
# One 15-epoch trial by itself, then 32 networks as one, each against the usual loop.
nas-mnist bench --device cuda --pack 32 --json
