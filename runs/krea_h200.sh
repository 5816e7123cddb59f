#!/usr/bin/env bash
# Krea 2 at its true size, with weights by chance, on one GPU machine without a network: every figure of bench/gpu.py.
#
#   runs/krea_h200.sh carry     at home: fills .carry with the wheels that must travel (17 MB)
#   runs/krea_h200.sh measure   there, with torch, transformers, accelerate and peft at hand: about 8 minutes
#
# What is found goes to OUT: krea.json (written after each part, so that a run that is cut off is not lost) and krea.log.
# TOY=1 measures tiny networks, on a processor too, in half a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${WORK:-/tmp/krea} out=${OUT:-out/h200} python=${PYTHON:-python3}
export HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=passive PYTHONUNBUFFERED=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
mkdir -p "$work" "$out"

carry() {  # everything but the repository
    rm -rf .carry && mkdir -p .carry/wheels
    names="diffusers structlog pydantic pydantic_core annotated_types typing_inspection typing_extensions importlib_metadata einops gguf
        requests charset_normalizer certifi urllib3 idna pillow pydantic_settings python_dotenv httpx httpcore h11 anyio"
    names=$(echo $names)
    .venv/bin/pip freeze | tr - _ | grep -i -E "^(${names// /|})==" > .carry/wheels.txt
    .venv/bin/pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        -d .carry/wheels -r .carry/wheels.txt
    chmod -R u+w .carry && du -sh .carry
}

measure() {
    [ -d "$work/site" ] || "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/site" .carry/wheels/*.whl
    PYTHONPATH=$work/site:$PWD "$python" bench/gpu.py ${TOY:+--toy} --json "$out/krea.json" 2>&1 | tee "$out/krea.log"
}

"${1:?say which stage: carry or measure}"
