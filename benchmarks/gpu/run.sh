#!/bin/bash
# Stages that a GPU is needed for, on a machine with Python 3.12, PyTorch with CUDA and no network; see README.md.
#
#   OUT=results WHEELS=wheels benchmarks/gpu/run.sh STAGE … [--tiny] [--device cpu]
#
# OUT     folder of the results, one JSON per stage, weights and checkpoints (default: benchmarks/scratch/gpu)
# WHEELS  folder with the wheels of packages that the machine lacks, installed for this run alone
# RESUME  folder with the checkpoint of an earlier run
# COMMIT, CLEAN  the commit of the code and "yes" if nothing was changed, where there is no git
# PYTHON  (default: python3)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PYTHON=${PYTHON:-python3}
export OUT=${OUT:-benchmarks/scratch/gpu}
mkdir -p "$OUT"
if [[ -n ${WHEELS:-} ]]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl
    export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$PWD/workflow:$PWD/reproduction:$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
"$PYTHON" -m benchmarks.gpu.stages "$@"
