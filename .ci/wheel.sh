#!/usr/bin/env bash
# The wheel in an empty environment and an empty folder: every verb starts, and the method runs without a checkout.
# Usage: .ci/wheel.sh PYTHON...; needs .venv with uv (make install).
set -eu
checkout=$(cd "$(dirname "$0")/.." && pwd)
uv=$checkout/.venv/bin/uv
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# From a copy, so that no build folder is left in the checkout.
(cd "$checkout" && git ls-files -z retort components pipelines configs pyproject.toml setup.py README.md LICENSE \
    | xargs -0 cp --parents -t "$(mkdir -p "$folder/source" && echo "$folder/source")")
(cd "$folder/source" && VIRTUAL_ENV=$checkout/.venv "$uv" build -q --wheel --no-build-isolation -o "$folder" .)

for python in "$@"; do
    echo "wheel: $("$python" --version)"
    "$uv" venv -q --python "$python" "$folder/env"
    VIRTUAL_ENV=$folder/env "$uv" pip install -q --require-hashes -r "$checkout/requirements.txt"
    VIRTUAL_ENV=$folder/env "$uv" pip install -q --no-deps "$folder"/retort-*.whl
    mkdir "$folder/project"
    cd "$folder/project"
    "$folder/env/bin/python" - <<'PY'
from importlib.metadata import files
tops = {str(file).split("/")[0] for file in files("retort")} - {".."}
wrong = [name for name in tops if not name.startswith("retort")]
tests = [str(file) for file in files("retort") if "tests" in file.parts]
assert not wrong and not tests, (wrong, tests)
PY
    (
        # Folders of a user's own that are named like the checkout's.
        for name in components pipelines docker configs; do mkdir $name; echo 'raise ImportError' >$name/__init__.py; done
        export PATH=$folder/env/bin:/usr/bin:/bin PYTHONPATH= OMP_NUM_THREADS=1
        retort --version
        for verb in $(python -c 'from retort.cli.app import app
print(*[c.name for c in app.registered_commands], *[g.name for g in app.registered_groups])'); do
            retort "$verb" --help >/dev/null
        done
        python -m retort graph --config demo >/dev/null
        retort plan configs/none.yaml 2>&1 | grep -q 'does not exist'
        retort plan smoke >/dev/null
        retort compile --config smoke --profile generic --out pipeline.yaml
        retort init --from demo mine
        cd mine
        small='prompts: {limit: 60, validation: 60, test: 30}
teacher_responses: {samples: 2}
student_responses: {samples: 2}
sft: {steps: 4}
reward: {steps: 4, min_auc: 0, max_calibration_error: 1, min_per_class: 1}
ppo: {iterations: 1, prompts_per_iteration: 16, minibatch_size: 16, critic_warmup: 0}
evaluate: {benchmarks: [{name: heldout}]}'
        mv retort.yaml demo.yaml
        printf 'extends: demo.yaml\n%s\n' "$small" >retort.yaml
        retort check
        time retort run
        retort show --json | grep -q '"ppo_minus_sft"'
    )
    cd "$checkout"
    rm -rf "$folder/project" "$folder/env"
done
echo "wheel: works in an empty folder"
