#!/usr/bin/env bash
# Checks and times training on a GPU: run it from the project's root with the project installed.
set -euo pipefail
python -m pytest -q tests/training/test_gpu.py
# One 15-epoch trial by itself, then 32 networks as one, each against the usual loop.
nas-mnist bench --device cuda --pack 32 --json
