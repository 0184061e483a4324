#!/usr/bin/env bash
# Builds the image and looks whether it keeps what docs/docker.md promises. Needs a Docker engine with BuildKit.
#   docker/check.sh           the CPU image: no GPU needed, a tenth of the download
#   docker/check.sh --gpus    the CUDA image, and a training step on the GPU
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

image=atomtune:check
build=(--build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu)
gpus=()
if [[ "${1:-}" == "--gpus" ]]; then
    build=()
    gpus=(--gpus all)
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/runs"

say() { echo "==> $*"; }

run() { # a container that sees no network and belongs to the caller
    docker run --rm --init --network none --user "$(id -u):$(id -g)" "${gpus[@]}" \
        --volume "$scratch/runs:/work/runs" --env HF_HUB_OFFLINE=1 "$image" "$@"
}

say "build"
docker build --file docker/Dockerfile --tag "$image" "${build[@]}" .
docker image ls "$image"

say "not root by default"
test "$(docker run --rm --entrypoint id "$image" -u)" = 1000

say "doctor finds nothing wrong"
run doctor

say "HF_HUB_OFFLINE is honoured"
if answer=$(run decompose 2>&1); then
    echo "a model came out of nowhere: $answer" >&2
    exit 1
fi
grep -q "HF_HUB_OFFLINE is set" <<<"$answer"

say "the miniature learns, and the result belongs to the caller"
run demo
test "$(stat -c %u "$scratch/runs/demo/index.html")" = "$(id -u)"

say "SIGTERM ends training with a saved state and exit code 143"
container=$(docker run --detach --init --network none --user "$(id -u):$(id -g)" "${gpus[@]}" \
    --volume "$scratch/runs:/work/runs" "$image" \
    train --model pocket --concept castle --images runs/demo/concept --steps 100000)
until grep -q step "$scratch/runs/castle/log.jsonl" 2>/dev/null; do
    test "$(docker inspect --format '{{.State.Running}}' "$container")" = true
    sleep 1
done
docker stop --time 120 "$container" >/dev/null
test "$(docker inspect --format '{{.State.ExitCode}}' "$container")" = 143
docker rm "$container" >/dev/null
test -s "$scratch/runs/castle/checkpoint.safetensors"

say "all is well"
