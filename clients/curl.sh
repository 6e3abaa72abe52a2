#!/usr/bin/env bash
# Call a pipeline with curl alone, one row at a time.
#
#   clients/curl.sh text=seven                            # plain JSON
#   clients/curl.sh image=@seven.png audio=@seven.wav     # JSON header + the files' bytes
#   HOST=127.0.0.1:8000 MODEL=digits clients/curl.sh ...
#
# JSON can hold text only: Triton takes BYTES in JSON as strings, and refuses {"b64": ...}. A file therefore travels
# behind the JSON, as 4 bytes of size (little-endian) and its content; the JSON names the size of both together, and the
# header Inference-Header-Content-Length says where the JSON ends.
set -euo pipefail

host=${HOST:-127.0.0.1:8000}
model=${MODEL:-digits}
if [ $# = 0 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    exit 2
fi
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

fail() {
    echo "curl.sh: $*" >&2
    exit 1
}

# Print a whole number as 4 bytes, little-endian.
size_bytes() {
    local octal
    octal=$(printf '\\%03o\\%03o\\%03o\\%03o' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)))
    # shellcheck disable=SC2059  # the format is the octal escapes themselves
    printf "$octal"
}

# Print the input of one modality; the bytes of a file are added to $work/tail.
input() {
    local name=$1 value=$2 size
    if [ "${value#@}" != "$value" ]; then
        size=$(wc -c < "${value#@}")
        { size_bytes "$size"; cat "${value#@}"; } >> "$work/tail"
        printf '{"name":"%s","shape":[1,1],"datatype":"BYTES","parameters":{"binary_data_size":%d}}' "$name" $((size + 4))
    else
        printf '{"name":"%s","shape":[1,1],"datatype":"BYTES","data":["%s"]}' "$name" \
            "$(printf '%s' "$value" | sed 's/[\\"]/\\&/g')"
    fi
}

modalities=$(curl -sS --fail-with-body "http://$host/v2/models/$model") || fail "$modalities"
modalities=$(sed 's/.*"inputs":\[\(.*\)\],"outputs".*/\1/' <<< "$modalities" | grep -o '"name":"[^"]*"' | cut -d'"' -f4)
for argument in "$@"; do
    grep -qx "${argument%%=*}" <<< "$modalities" || fail "no modality ${argument%%=*}; there are:" $modalities
done

: > "$work/tail"
separator='{"inputs":['
for name in $modalities; do # every modality is an input; an empty string says that the row lacks it
    value=
    for argument in "$@"; do
        if [ "${argument%%=*}" = "$name" ]; then value=${argument#*=}; fi
    done
    printf '%s' "$separator" >> "$work/header"
    input "$name" "$value" >> "$work/header"
    separator=,
done
printf ']}' >> "$work/header"

length=$(wc -c < "$work/header")
cat "$work/header" "$work/tail" > "$work/body"
answer=$(curl -sS --fail-with-body --max-time 30 "http://$host/v2/models/$model/infer" \
    --header 'Content-Type: application/octet-stream' --header "Inference-Header-Content-Length: $((length))" \
    --data-binary "@$work/body") || fail "$answer"

# One line for each output: its name and its values.
grep -o '"name":"[^"]*","datatype":"[^"]*","shape":\[[^]]*\],"data":\[[^]]*\]' <<< "$answer" |
    sed 's/"name":"\([^"]*\)".*"data":/\1 /'
