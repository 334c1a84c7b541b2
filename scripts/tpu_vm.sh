#!/usr/bin/env bash
# Runs blurjax on all workers of a TPU slice, with gcloud, from a checkout.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: scripts/tpu_vm.sh NAME ZONE COMMAND

  create TYPE VERSION    create the slice, e.g. create v5litepod-16 v2-alpha-tpuv5-lite
  install                copy this checkout to every worker and install it there, as blurjax[tpu]
  copy PATH              copy images, a folder or an npz file, to the home directory of every worker, e.g. copy my/PHOTOS
                         before run scenes --data.source folder:PHOTOS --out DIR
  ssh 'SHELL COMMAND'    run a command on every worker, e.g. mount the file system for the results
  run [PRESET] --out DIR [--SECTION.SETTING VALUE ...]
                         `blurjax run` on all workers, as one run
  stop                   save the run and end it, within ten seconds

DIR must be an absolute path on a file system that is visible to all workers and outlives them: NFS, or a bucket mounted
with gcsfuse. Checkpoints are committed by renaming a directory, which gcsfuse supports in a bucket with a hierarchical
namespace, or with --rename-dir-limit.

To continue after `stop`, after a lost connection (`stop` first) or after preemption (create, install, copy and mount
again), use the same `run`. If the previous workers were alive less than five minutes ago, add --take-over.

DRY_RUN=1 prints the commands instead. A slice costs money until it is deleted:
gcloud compute tpus tpu-vm delete NAME --zone=ZONE
USAGE
}

fail() {
    echo "tpu_vm.sh: $1" >&2
    exit 2
}

# Runs a command, or prints it.
call() {
    if [ -n "${DRY_RUN:-}" ]; then
        printf '%q ' "$@"
        echo
    else
        "$@"
    fi
}

# Runs a shell command on all workers at the same time.
on_all_workers() {
    call gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --batch-size=all --command="$1"
}

# Prints the value of --out, or nothing.
out_of() {
    while [ $# -gt 0 ]; do
        case $1 in
        --out=*) echo "${1#--out=}" ;;
        --out) echo "${2:-}" ;;
        esac
        shift
    done
}

if [ $# -lt 3 ]; then
    usage
    [ $# = 0 ] || exit 2
    exit 0
fi
name=$1 zone=$2 command=$3
there=blurjax-checkout # in the home directory of every worker
shift 3

case $command in
create)
    [ $# = 2 ] || fail "create needs a TYPE and a VERSION."
    call gcloud compute tpus tpu-vm create "$name" --zone="$zone" --accelerator-type="$1" --version="$2"
    ;;
install)
    cd "$(dirname "$0")/.."
    call mkdir -p dist
    call tar -czf dist/checkout.tar.gz blurjax configs pyproject.toml constraints.txt README.md LICENSE
    call gcloud compute tpus tpu-vm scp dist/checkout.tar.gz "$name:" --zone="$zone" --worker=all
    # The workers' own Python may be older than 3.11; uv installs one.
    on_all_workers "rm -rf $there && mkdir $there && tar -xzf checkout.tar.gz -C $there && cd $there &&\
 python3 -m pip install --quiet --user uv && python3 -m uv venv --python 3.12 &&\
 python3 -m uv pip install -c constraints.txt '.[tpu]'"
    ;;
copy)
    [ $# = 1 ] || fail "copy needs one PATH."
    [ -e "$1" ] || fail "there is no $1."
    path=$(realpath "$1")
    archive=$(mktemp -d)/blurjax-data.tar # one file instead of thousands
    call tar -cf "$archive" -C "$(dirname "$path")" "$(basename "$path")"
    call gcloud compute tpus tpu-vm scp "$archive" "$name:" --zone="$zone" --worker=all
    call rm -r "$(dirname "$archive")"
    on_all_workers "tar -xf blurjax-data.tar && rm blurjax-data.tar"
    ;;
ssh)
    [ $# = 1 ] || fail "ssh needs one SHELL COMMAND, in quotes."
    on_all_workers "$1"
    ;;
run)
    case $(out_of "$@") in
    /*) ;;
    *) fail "run needs --out DIR, an absolute path on a file system that is visible to all workers." ;;
    esac
    on_all_workers "$there/.venv/bin/blurjax run $(printf '%q ' "$@")--distributed"
    ;;
stop)
    on_all_workers "pkill -TERM -f '[b]lurjax run'"
    ;;
*)
    fail "there is no command $command; scripts/tpu_vm.sh without arguments lists them."
    ;;
esac
