#!/usr/bin/env bash
# The applet of dxapp.json: the platform sets its inputs as variables and calls main.
# What `dx build` packs from resources/ lies at the root: the checkout and dxfuse, see README.md.
set -euo pipefail

main() {
    mount_project
    # shellcheck disable=SC2086,SC2154 # study and folder are inputs; each word of steps is a step
    /opt/ecg-spark/infra/rap/run.sh "/mnt/project/${study#/}" "$folder" ${steps:-}
}

# As the platform's own JupyterLab has it: the whole project, to be read, under /mnt/project.
mount_project() {
    printf '{"files": [], "directories": [{"proj_id": "%s", "folder": "/", "dirname": "/project"}]}' \
        "$DX_PROJECT_CONTEXT_ID" >"$HOME/dxfuse.json"
    dxfuse /mnt "$HOME/dxfuse.json"
}
