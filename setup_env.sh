#!/usr/bin/env bash
# Makes the Python environment of this repository; `bash setup_env.sh --help` says how.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONNOUSERSITE=1 # what lies in ~/.local is no part of the environment

usage() {
    cat <<'EOF'
Set up the Python environment of this repository.

    bash setup_env.sh [--dev] [--python PROGRAM] [--print_python]

Installs requirements.txt into the active virtual or conda environment (not conda's "base"), or else
into .venv in this repository, which is made if need be. Python 3.11, 3.12 or 3.13. Takes less than a
second when everything is in place; can be interrupted and run again at any time.

  --dev             install requirements-dev.txt as well (tests, lint, types)
  --python PROGRAM  make .venv with this Python; default: the first suitable one on PATH
  --print_python    print the path of the environment's Python as the only line on standard output
  --help            show this text

Environment variable:
  NGFF_TORCH_INDEX  URL of a package index with the PyTorch build you want. Worth setting on Linux
                    without an NVIDIA GPU: the default build brings gigabytes of CUDA libraries, one
                    from an index of CPU builds about 0.2 GB. PyTorch's installation page has the URLs.

pip's own settings (pip.conf, PIP_*) hold as usual. A PyTorch of the pinned version that is already
in the environment is kept. On a Mac the default build is the right one.
EOF
}

say() { printf 'setup_env: %s\n' "$*" >&2; }
fail() {
    printf 'setup_env: error: %s\n' "$*" >&2
    exit 1
}

install_a_python="install Python 3.11, 3.12 or 3.13, for example
    sudo apt install python3 python3-venv            (Debian 12 and 13, Ubuntu 24.04)
    sudo apt install python3.11 python3.11-venv      (Ubuntu 22.04)
    conda create -n ngff python=3.12 && conda activate ngff
and run this again"

# Major and minor version of a Python; fails where it does not run (a pyenv shim without its version).
version_of() { "$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

check_version() {
    case $1 in
        3.11 | 3.12 | 3.13) ;;
        2.* | 3.[0-9] | 3.10) echo "Python $1 has reached its end of life and is not supported" ;;
        *) echo "Python $1 is newer than the pinned libraries support" ;;
    esac
}

# The Python to make .venv with.
find_python() {
    local name names version complaint refused="" without_venv=""
    if [[ $wanted ]]; then names=("$wanted"); else names=(python3 python python3.12 python3.13 python3.11); fi
    for name in "${names[@]}"; do
        command -v "$name" >/dev/null || continue
        version=$(version_of "$name") || continue
        complaint=$(check_version "$version")
        if [[ $complaint ]]; then
            refused=${refused:-$complaint}
        elif "$name" -I -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$name"
            return
        else
            without_venv=${without_venv:-$version}
        fi
    done
    if [[ $without_venv ]]; then
        fail "Python $without_venv lacks its venv module; on Debian and Ubuntu: sudo apt install python3-venv" \
            "(or python$without_venv-venv), then run this again"
    fi
    fail "${refused:-${wanted:-Python} not found}; $install_a_python"
}

# The pins of the requirement files given that the environment does not meet; a local part (+cpu) is free.
unmet_pins() {
    "$python" -I - "$@" <<'EOF'
import importlib.metadata, pathlib, re, sys

for file in sys.argv[1:]:
    for name, version in re.findall(r"^([\w.-]+)==([^\s;#]+)", pathlib.Path(file).read_text(), re.MULTILINE):
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = None
        if version not in (installed, str(installed).split("+")[0]):
            print(f"{name}=={version}")
EOF
}

is_complete() {
    local unmet
    [[ -x $python && ! -e $unfinished ]] && unmet=$(unmet_pins "${requirements[@]}" 2>/dev/null) && [[ -z $unmet ]]
}

# The system frees the lock when the last process with this file open has ended, an orphaned pip among them.
lock() {
    local take='import fcntl, sys; fcntl.flock(9, fcntl.LOCK_EX | (fcntl.LOCK_NB if sys.argv[1:] else 0))'
    exec 9>>"$root/.setup_env.lock"
    if ! "$1" -I -c "$take" try 2>/dev/null; then
        say "waiting for another setup_env.sh to finish"
        "$1" -I -c "$take"
    fi
}

make_venv() {
    if [[ -e $unfinished ]]; then
        say "an earlier run was interrupted: making .venv anew"
        rm -rf "$environment"
    elif [[ -e $environment ]] && ! version_of "$python" >/dev/null; then
        say "the Python of .venv does not run: making .venv anew"
        rm -rf "$environment"
    fi
    [[ -x $python ]] && return
    say "making .venv with Python $(version_of "$1")"
    mkdir -p "$environment"
    : >"$unfinished"
    "$1" -m venv "$environment" || fail "$1 -m venv .venv failed; $install_a_python"
}

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }

pip_install() {
    "$python" -m pip install --quiet --no-input --disable-pip-version-check "$@" </dev/null ||
        fail "pip failed, for the reason above; run this again once it is mended"
}

install() {
    local pin file
    : >"$unfinished"
    pin=$(unmet_pins "$root/requirements.txt" | grep '^torch==' || true)
    if [[ $pin && ${NGFF_TORCH_INDEX:-} ]]; then
        say "installing $pin with the index in NGFF_TORCH_INDEX"
        # pip takes that index' build before another: a local part (2.0+cpu) sorts after the bare version.
        pip_install --extra-index-url "$NGFF_TORCH_INDEX" "$pin"
    elif [[ $pin ]]; then
        say "installing $pin"
        if [[ $(uname -s) == Linux ]] && ! has_gpu; then
            say "  no NVIDIA GPU here: NGFF_TORCH_INDEX can spare you the CUDA libraries (see --help)"
        fi
        pip_install "$pin"
    fi
    for file in "${requirements[@]}"; do
        say "installing the libraries of $(basename "$file")"
        pip_install -r "$file"
    done
    rm -f "$unfinished"
    if has_gpu && "$python" -c 'import sys, torch; sys.exit(torch.version.cuda is not None)'; then
        say "warning: PyTorch here is a CPU build, but there is an NVIDIA GPU. To change that:" \
            "$python -m pip uninstall torch, then run this again"
    fi
}

dev=false print_python=false wanted=""
while (($#)); do
    case $1 in
        --dev) dev=true ;;
        --print_python) print_python=true ;;
        --python)
            [[ ${2:-} ]] || fail "--python: expected a program, for example --python python3.12"
            wanted=$2
            shift
            ;;
        -h | --help)
            usage
            exit
            ;;
        *) fail "unknown argument '$1'; bash setup_env.sh --help lists what there is" ;;
    esac
    shift
done
requirements=("$root/requirements.txt")
if $dev; then requirements+=("$root/requirements-dev.txt"); fi

environment=$root/.venv
if [[ ${VIRTUAL_ENV:-} && -x $VIRTUAL_ENV/bin/python ]]; then
    environment=$VIRTUAL_ENV
elif [[ ${CONDA_PREFIX:-} && ${CONDA_DEFAULT_ENV:-} != base && ! -d $CONDA_PREFIX/condabin ]]; then
    environment=$CONDA_PREFIX
    [[ -x $environment/bin/python ]] ||
        fail "the active conda environment $environment has no Python; conda install python=3.12 and run this again"
fi
python=$environment/bin/python
unfinished=$environment/.ngff-unfinished

if ! is_complete; then
    if [[ $environment == "$root/.venv" ]]; then
        base=$(find_python)
        lock "$base"
        is_complete || make_venv "$base"
    else
        lock "$python"
    fi
    complaint=$(check_version "$(version_of "$python")")
    [[ -z $complaint ]] || fail "$environment: $complaint; leave or remove that environment and $install_a_python"
    if ! is_complete; then
        install
        say "ready: $environment"
    fi
fi
if $print_python; then echo "$python"; fi
