#!/usr/bin/env bash
# The nano model on one GPU machine without a network: an H200 and 16 cores. One call a stage, each within ten minutes.
#
#   ARTWORK=folder-of-the-archives runs/nano_h200.sh carry     at home: fills .carry with what must travel
#   runs/nano_h200.sh look                                     there, 7 minutes: scenes, sheets, the reader of looks
#   runs/nano_h200.sh paint                                    there, 9 minutes: the transformer
#   runs/nano_h200.sh decode                                   there, 9 minutes: windows, the decoder, the small transformer
#
# What a stage makes lies in WORK while the machine is kept; weights worth keeping go to OUT, as they ship.
# TOY=1 runs a stage at toy size, in about a minute on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${WORK:-/tmp/nano} out=${OUT:-out/h200} python=${PYTHON:-python3}
export HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=passive PYTHONUNBUFFERED=1
mkdir -p "$work" "$out"

if [ -n "${TOY:-}" ]; then
    cores=2 sheets=1 scenes=1 windows=1 groups=4 reading=.3 painting=.6 decoding=.3 distilling=.6
else
    cores=15 sheets=3 scenes=400 windows=2 groups=64 reading=2 painting=7.5 decoding=3 distilling=2
fi

carry() {  # everything but the repository
    : "${ARTWORK:?say where the artwork lies: ARTWORK=folder $0 carry}"
    rm -rf .carry && mkdir -p .carry/artwork .carry/wheels
    cp "$ARTWORK/fluent-3d.tar" .carry/artwork/
    .venv/bin/python -m easel.train.carry .carry/minilm
    tar cJf .carry/minilm.tar.xz -C .carry minilm && rm -r .carry/minilm
    names="diffusers resvg_py pydantic pydantic_core annotated_types typing_inspection httpx httpcore h11 anyio idna certifi"
    .venv/bin/pip freeze | tr - _ | grep -i -E "^(${names// /|})==" > .carry/wheels.txt
    .venv/bin/pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        -d .carry/wheels -r .carry/wheels.txt
    chmod -R u+w .carry && du -sh .carry
}

arrive() {  # what travelled, ready for use
    [ -d "$work/site" ] || "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/site" .carry/wheels/*.whl
    [ -d "$work/minilm" ] || tar xf .carry/minilm.tar.xz -C "$work"
    export PYTHONPATH=$work/site
}

share() {  # share MODULE EACH ARGUMENTS…: every core makes EACH shards
    local module=$1 each=$2 core
    shift 2
    for ((core = 0; core < cores; core++)); do
        OMP_NUM_THREADS=1 ${launcher:-} "$python" -m "easel.train.$module" "$@" --first $((core * 1000)) --shards "$each" &
    done
}

look() {
    "$python" -m easel.train.project .carry/artwork "$work/projection" --pictures 400 --channels 96
    share sheets $sheets .carry/artwork "$work/sheets"
    wait
    launcher=setsid share data $scenes .carry/artwork "$work/projection" "$work/scenes" > "$work/scenes.log" 2>&1  # beside all that follows
    "$python" -m easel.train.reader "$work/sheets" "$work/reader" --minutes $reading
    "$python" -m easel.train.pack "$out" reader="$work/reader"
}

paint() {
    "$python" -m easel.train.nano "$work/scenes" "$work/transformer" --minutes $painting --groups $groups --minilm "$work/minilm"
    "$python" -m easel.train.pack "$out" raw="$work/transformer/transformer"
}

decode() {
    pkill -f easel.train.data || true
    share windows $windows .carry/artwork "$work/transformer/transformer" "$work/projection" "$work/reader" "$work/windows" --minilm "$work/minilm"
    wait
    "$python" -m easel.train.decoder "$work/windows" "$work/projection" "$work/vae" --minutes $decoding --groups $groups
    "$python" -m easel.train.pack "$out" vae="$work/vae"
    "$python" -m easel.train.distil "$work/scenes" "$work/transformer/transformer" "$work/small" --minutes $distilling --groups $groups --minilm "$work/minilm"
    "$python" -m easel.train.pack "$out" turbo="$work/small/transformer"
}

stage=${1:?say which stage: carry, look, paint or decode}
[ "$stage" = carry ] || arrive
"$stage"
