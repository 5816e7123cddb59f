#!/usr/bin/env bash
# The nano model from nothing, on a CPU of two cores: six to seven hours. Stops and resumes where it was.
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
$python -m easel.train.distil "$work/scenes" "$work/transformer/transformer" "$work/small" --minutes 36

# 3. Sheets of references in looks of their own (35 minutes, a core each), and the reader of looks.
for half in 0 22; do
    OMP_NUM_THREADS=1 $python -m easel.train.sheets "$ARTWORK" "$work/sheets" --first $half --shards 22 &
done
wait
$python -m easel.train.reader "$work/sheets" "$work/reader" --minutes 28

# 4. Windows of full-size pictures, with what the reader and the transformer make of them (35 minutes, a core each), and the decoder.
for half in 0 20; do
    OMP_NUM_THREADS=1 $python -m easel.train.windows "$ARTWORK" "$work/transformer/transformer" "$work/projection" \
        "$work/reader" "$work/windows" --first $half --shards 20 &
done
wait
$python -m easel.train.decoder "$work/windows" "$work/projection" "$work/vae" --minutes 100

# 5. What ships, and its measures.
$python -m easel.train.pack "$nano" raw="$work/transformer/transformer" turbo="$work/small/transformer" vae="$work/vae" reader="$work/reader" --name nano-3
$python bench/nano_quality.py "$ARTWORK"
