#!/usr/bin/env bash
# Installs an environment of the project at the versions of its lock file.
#
#   infra/setup.sh main       .venv      ecg-spark with its tests' tools, from requirements.lock
#   infra/setup.sh gwas-ssf   .venv-ssf  the GWAS Catalog's validator, from infra/gwas-ssf.lock:
#                                        it needs versions that ecg-spark cannot live with
#   infra/setup.sh model FILE .venv-model  what a registered model requires, from its
#                                        requirements.txt, and nothing else
#
# PYTHON=path  the Python 3.11 to use, otherwise the first one found on the PATH
# GPU=1        PyTorch's standard build (CUDA on Linux); GPU=0 the CPU build. Without GPU, an
#              environment that exists keeps its build and a new one gets the CPU's.
#
# A stamp file, written last, says what was installed. If it is the same, nothing is done. With
# another lock file the environment is updated in place. Without a stamp (an interrupted install),
# in another folder or with another build of PyTorch it is made anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'ecg-spark: %s\n' "$*"; }
fail() { printf 'ecg-spark: %s\n' "$@" >&2; exit 4; }

case "${1:-}" in
    main) venv=.venv lock=requirements.lock inputs="requirements.lock pyproject.toml" ;;
    gwas-ssf) venv=.venv-ssf lock=infra/gwas-ssf.lock inputs="infra/gwas-ssf.lock" ;;
    model) venv=.venv-model lock=${2:?usage: infra/setup.sh model FILE} inputs=$2 ;;
    *) echo "usage: infra/setup.sh main|gwas-ssf|model FILE" >&2; exit 2 ;;
esac
stamp=$venv/installed
log=$venv/install.log

is_311() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }

find_python() {
    if [[ -n ${PYTHON:-} ]]; then
        is_311 "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 that runs."
        printf '%s' "$PYTHON"
        return
    fi
    local name
    for name in python3.11 python3 python; do
        if is_311 "$name"; then printf '%s' "$name"; return; fi
    done
    fail "Python 3.11 was not found. Install it (Debian 12: apt install python3.11 python3.11-venv;" \
        "macOS: brew install python@3.11; elsewhere: https://www.python.org) or name it with" \
        "make setup PYTHON=/path/to/python3.11. Other versions do not work: Hail and Spark 3.5 need 3.11."
}

# Shows what is being done and how long it took; pip's output goes to the log.
step() {
    local title=$1 start=$SECONDS
    shift
    printf 'ecg-spark:   %s ... ' "$title"
    printf '\n== %s\n' "$*" >>"$log"
    if "$@" >>"$log" 2>&1 </dev/null; then
        printf '%d s\n' $((SECONDS - start))
    else
        printf 'failed\n'
        return 1
    fi
}

die_with_log() {
    grep -v -e '^WARNING' -e '^$' "$log" | tail -n 8 >&2 || true
    fail "The installation stopped; its last lines are above, all of them in $log." \
        "The usual cause is the network or the disk (3 GB are needed): run the same command again."
}

digest() { # shellcheck disable=SC2086
    cat $inputs | "$1" -c 'import hashlib,sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

python=$(find_python)
was_place="" was_digest=""
if [[ -f $stamp && -x $venv/bin/python ]]; then
    { read -r was_place; read -r was_digest; } <"$stamp" || true
fi
case "${GPU:-}" in
    "") [[ $was_place == *" gpu" ]] && build=gpu || build=cpu ;;
    0) build=cpu ;;
    *) build=gpu ;;
esac
place="$PWD $build"
now=$(digest "$python")
if [[ $place == "$was_place" && $now == "$was_digest" ]]; then
    say "$venv is up to date"
    exit 0
fi

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }

# To compile every module of an environment that tests use once takes longer than they do.
[[ $1 == main ]] && compile=--compile || compile=--no-compile

began=$SECONDS
if [[ $place == "$was_place" ]]; then
    say "updating $venv to $lock"
    rm -f "$stamp"
    : >"$log"
else
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments: install its venv package (Debian: apt install python3.11-venv)."
    say "installing into $venv, with $("$python" --version) (once; some minutes, mostly downloading)"
    "$python" -m venv --clear "$venv" || fail "$venv could not be made."
    : >"$log"
    if [[ $1 != gwas-ssf && $build == cpu && $(uname -s) == Linux ]]; then
        torch=$(sed -n 's/^torch==//p' "$lock")
        # --retries and --timeout: a firewall that drops packets must not hold the set-up up.
        step "PyTorch $torch, CPU build" pip install "$compile" --no-deps --retries 1 --timeout 15 \
            --extra-index-url https://download.pytorch.org/whl/cpu "torch==$torch+cpu" ||
            say "  the CPU build cannot be reached, so the standard one is used (larger, works as well)"
    fi
fi
step "$(grep -c '==' "$lock") packages of $lock" pip install "$compile" -r "$lock" || die_with_log
if [[ $1 == main ]]; then
    step "ecg-spark itself" pip install --no-deps --no-build-isolation -e . || die_with_log
fi
pip check >>"$log" 2>&1 || die_with_log
printf '%s\n%s\n' "$place" "$now" >"$stamp.new"
mv "$stamp.new" "$stamp"
say "installed in $((SECONDS - began)) s"
