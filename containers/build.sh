#!/usr/bin/env bash
# Build the image planeloc:VERSION with podman or docker. Arguments are passed on to the build:
#   containers/build.sh
#   containers/build.sh --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu130
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' workflow/planeloc/__init__.py)
[[ -n $version ]] || { echo "containers/build.sh: no __version__ in workflow/planeloc/__init__.py" >&2; exit 1; }
engine=$(command -v podman || command -v docker) ||
    { echo "containers/build.sh: neither podman nor docker found; install one of them" >&2; exit 1; }

"$engine" build --file containers/Dockerfile --tag "planeloc:$version" \
    --label org.opencontainers.image.title=planeloc \
    --label "org.opencontainers.image.version=$version" \
    --label org.opencontainers.image.licenses=MIT \
    "$@" .
echo "built planeloc:$version"
