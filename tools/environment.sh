# shellcheck shell=bash
# Shared by quickstart.sh and run_tests.sh, which source it from the root of the repository.

# Print the name of a Python interpreter that the stack supports.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.12 python3.11 python3.10 python3 python}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
            2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python 3.10, 3.11 or 3.12 found (PYTHON=${PYTHON:-unset}); install one, and run" \
        "PYTHON=/path/to/python3.12 bash $0" >&2
    return 1
}

# Create and activate a virtual environment, and install a stack (openmmlab or onedl) and this
# package in it.
install_stack() {
    local stack=$1 default=.venv
    if [ ! -f "requirements/$stack.txt" ]; then
        echo "STACK=$stack: no requirements/$stack.txt; expected openmmlab or onedl" >&2
        return 1
    fi
    if [ "$stack" != openmmlab ]; then default=.venv-$stack; fi
    local venv=${VENV:-$default}
    if [ ! -x "$venv/bin/python" ]; then
        local python
        python=$(find_python)
        echo "Creating $venv with $("$python" --version)"
        "$python" -m venv "$venv"
    fi
    # shellcheck disable=SC1091
    source "$venv/bin/activate"
    echo "Installing requirements/$stack.txt in $venv, which takes minutes the first time"
    # torch by itself first, so that an installed build for this machine is kept.
    pip install --quiet "$(grep '^torch==' "requirements/$stack.txt")"
    pip install --quiet --requirement "requirements/$stack.txt"
    if [ -f "requirements/$stack-nodeps.txt" ]; then
        pip install --quiet --no-deps --requirement "requirements/$stack-nodeps.txt"
    fi
    pip install --quiet --no-deps --editable .
}
