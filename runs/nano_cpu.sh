#!/usr/bin/env bash
# The nano model from nothing, on a CPU of two cores: between four and five hours. Stops and resumes where it was.
#
#   ARTWORK=folder-of-the-archives runs/nano_cpu.sh
#
# ARTWORK holds the emoji and icon archives that NOTICE names, as `noto.tar.xz`, `twemoji.tar.xz`, …, with `index.json`.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${ARTWORK:?say where the artwork lies: ARTWORK=folder $0}"
work=${WORK:-out/nano}
export HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=passive
python=.venv/bin/python
nano=easel/checkpoints/nano
mkdir -p "$work"

# 1. The drawings that ship, and the projection of the autoencoder (1 minute).
[ -f "$nano/drawings.zip" ] || $python -m easel.train.library "$ARTWORK" "$nano/drawings.zip"
[ -d "$work/projection" ] || $python -m easel.train.project "$ARTWORK" "$work/projection" --pictures 400 --channels 96

# 2. Scenes in styles as latents (13 minutes, a core each), and the transformer.
for half in 0 19; do
    OMP_NUM_THREADS=1 $python -m easel.train.data "$ARTWORK" "$work/projection" "$work/scenes" --first $half --shards 19 &
done
wait
$python -m easel.train.nano "$work/scenes" "$work/transformer" --minutes "${MINUTES:-100}"

# 3. Windows of full-size pictures with what the transformer paints of them (35 minutes, a core each), and the decoder.
for half in 0 20; do
    OMP_NUM_THREADS=1 $python -m easel.train.windows "$ARTWORK" "$work/transformer/transformer" "$work/projection" \
        "$work/windows" --first $half --shards 20 &
done
wait
$python -m easel.train.decoder "$work/windows" "$work/projection" "$work/vae" --minutes 100

# 4. What ships, and its measures.
$python -m easel.train.pack "$work/transformer/transformer" "$work/vae" "$nano" --name nano-1
$python bench/nano_quality.py "$ARTWORK"
