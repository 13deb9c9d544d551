# shellcheck shell=bash
# Steps that scripts/test and scripts/check share. To be sourced, from the root of the repository.

# Runs one step under a heading, and says how long it took. A step that fails ends all of it.
step() {
  local heading=$1 began=$SECONDS
  shift
  echo
  echo "== $heading"
  if ! "$@"; then
    echo "== $heading: FAILED after $((SECONDS - began)) s" >&2
    exit 1
  fi
  echo "== $heading: $((SECONDS - began)) s"
}

# Names the lines of code (not of comments) below src that match $2 outside the paths that match $3.
forbid() {
  local rule=$1 pattern=$2 allowed=$3 found
  found=$(grep -rnE --include='*.rs' "$pattern" src | grep -vE '^[^:]+:[0-9]+: *//' | grep -vE "^($allowed)" || true)
  if [[ -n $found ]]; then
    printf 'forbidden: %s\n%s\n' "$rule" "$found" >&2
    return 1
  fi
}

# The folders of src, lowest first: each knows those before it alone.
layers=(base protocol config net ftp sftp connectors archive quota records lateness mirror notify terminal status
  collector control web logging actors service commands cli)

imports() {
  local broken=0 below='' layer
  for layer in "${layers[@]}"; do
    # lines of this folder that name one which is not below it
    if grep -rnE --include='*.rs' '\bcrate::\{?[a-z_]+' "$(ls -d "src/$layer" "src/$layer.rs" 2>/dev/null)" |
      grep -vE '^[^:]+:[0-9]+: *//' | grep -vE "\bcrate::($layer$below)\b" >&2; then
      echo "forbidden: src/$layer knows the folders below it alone: ${below//|/ }" >&2
      broken=1
    fi
    below+="|$layer"
  done
  for layer in src/*/; do
    layer=$(basename "$layer")
    if [[ " ${layers[*]} " != *" $layer "* ]]; then
      echo "forbidden: src/$layer has no place among the layers of scripts/lib/steps.sh" >&2
      broken=1
    fi
  done
  forbid 'actix is for src/actors alone' '\bactix(::| as |;)' 'src/actors/' || broken=1
  forbid 'actix_web is for src/web alone' '\bactix_web(::| as |;)' 'src/web/' || broken=1
  forbid 'actix_rt is for the actors, the sinks and the program itself' '\bactix_rt(::| as |;)' \
    'src/(actors|notify/(http|conformance)|service)/|src/main\.rs:' || broken=1
  forbid 'awc is for src/notify/http alone' '\bawc(::| as |;)' 'src/notify/http/' || broken=1
  forbid 'src/notify/mod.rs alone knows which sinks there are' '\b(notify|super|self)::http\b|^use http::' \
    'src/notify/(mod\.rs|http/|conformance/)' || broken=1
  forbid 'a protocol is known to itself and to src/connectors.rs alone' '\b(crate|super)::s?ftp\b' \
    'src/(connectors\.rs:|s?ftp/)' || broken=1
  forbid 'src/mirror/mod.rs alone knows which mirrors there are' '\b(mirror|super|self)::local\b|^use local::' \
    'src/mirror/(mod\.rs|local/|conformance/)' || broken=1
  forbid 'the file system of the mirror is for src/mirror/local alone' '\brustix::fs::|std::os::fd' \
    'src/(base|mirror/local|records/sqlite|control|commands/check|net|ftp|sftp|terminal|logging|web|service)/' || broken=1
  return $broken
}
