#!/usr/bin/env bash
# Runs steps of a study on one instance of the UK Biobank RAP, and keeps in the project what each of
# them publishes.
#
#   infra/rap/run.sh STUDY.yaml FOLDER [STEP...]
#
# STUDY.yaml lies under /mnt/project, where the project is mounted, or on the instance; its output is
# a folder of the instance. FOLDER, such as /ecg-spark/results, is in the project: after each step it
# receives an archive of what is new, whether the step ended well or not, and the report at the end.
# An instance that has no output yet begins with what FOLDER keeps.
#
# PROJECT_MOUNT  where the project is mounted, if not at /mnt/project
set -euo pipefail

say() { printf 'ecg-spark: %s\n' "$*" >&2; }
fail() { say "$2"; exit "$1"; }

usage="usage: infra/rap/run.sh STUDY.yaml FOLDER [STEP...]"
[[ $# -ge 2 ]] || fail 2 "$usage"
study=$1 folder=${2%/}
shift 2
mount=${PROJECT_MOUNT:-/mnt/project}
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

[[ $folder == /* ]] || fail 2 "FOLDER is a folder of the project and begins with /, as /ecg-spark/results."
[[ -n ${DX_PROJECT_CONTEXT_ID:-} ]] ||
    fail 4 "DX_PROJECT_CONTEXT_ID is not set: run this in a job of the platform or its JupyterLab."
[[ -d $mount ]] || fail 4 "The project is not mounted at $mount: run this in the applet or in JupyterLab."

# The platform's images have other versions of Python: uv fetches one that needs no installation.
install() {
    local python
    if ! python=$(command -v python3.11); then
        python3 -m venv "$HOME/uv"
        "$HOME/uv/bin/pip" install --quiet uv
        "$HOME/uv/bin/uv" python install --quiet 3.11
        python=$("$HOME/uv/bin/uv" python find 3.11)
    fi
    PYTHON=$python "$checkout/infra/setup.sh" main >&2
}

[[ -e $checkout/.venv/installed ]] || install
export PYTHONPATH=$checkout
python() { "$checkout/.venv/bin/python" "$@"; }

out=$(python - "$study" <<'PYTHON'
import sys

from ecg_spark.study import load_study
from jobs.step import guarded

sys.exit(guarded(lambda: print(load_study(sys.argv[1]).output_path)))
PYTHON
)
case $out in
    "$mount"/* | *://*) fail 2 "The study's output must be a folder of the instance, such as /home/dnanexus/ukb." ;;
esac
[[ $# -gt 0 ]] || read -ra steps <<<"$(python -c 'from jobs.step import STEPS; print(*STEPS)')"
[[ $# -eq 0 ]] || steps=("$@")

# Its time is that of the last archive: what has changed since is new.
marker=$out.kept

# An archive that cannot be opened is one whose upload was cut off: its job ended there, and what it
# held is done again.
restore() {
    local archive aside=$out.restored
    rm -rf "$aside"
    mkdir -p "$aside"
    for archive in "$mount$folder"/*.tar; do
        if [[ -e $archive ]] && ! head -c 1 "$archive" >/dev/null 2>&1; then
            say "${archive##*/} was not uploaded to its end and is passed over."
        elif [[ -e $archive ]]; then
            say "going on from ${archive##*/}"
            tar --extract --file "$archive" --directory "$aside" || fail 4 \
                "${archive##*/} is damaged: remove it from $folder and start again; what it held is done again."
        fi
    done
    touch "$marker"
    mv "$aside" "$out"
}

upload() { # NAME: standard input as a file of FOLDER
    dx upload --brief --wait --parents --path "$DX_PROJECT_CONTEXT_ID:$folder/$1" - >&2
}

not_kept() {
    fail 4 "What the step $1 published could not be uploaded: it is in $out; start the same command again."
}

keep() { # STEP: its name is that of the archive
    local name list=$out.new
    name=$(date -u +%Y%m%dT%H%M%S)-$1
    touch "$marker.next"
    # Empty folders, too: a step may publish one. Those that point to what is published go last: what
    # an archive lacks, nothing points to.
    (cd "$out" && find . -mindepth 1 \( ! -type d -o -empty \) -newercm "$marker" \
        ! -path './locks*' ! -path './published*' -print0 &&
        if [[ -d published ]]; then find ./published -type f -newercm "$marker" -print0; fi) >"$list"
    if [[ -s $list ]]; then
        tar --create --directory "$out" --null --files-from "$list" | upload "$name.tar" || not_kept "$1"
    fi
    if [[ -n $(find "$out" -maxdepth 1 -name report.html -newercm "$marker") ]]; then
        upload "$name.html" <"$out/report.html" || not_kept "$1"
    fi
    rm -f "$list"
    mv "$marker.next" "$marker"
}

if [[ -d $out ]]; then
    [[ -e $marker ]] || touch -d @0 "$marker"
else
    restore
fi
for step in "${steps[@]}"; do
    code=0
    python -m jobs.cli "$step" "$study" || code=$?
    keep "$step"
    [[ $code -eq 0 ]] || exit "$code"
done
