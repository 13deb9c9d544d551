# shellcheck shell=bash
# Unpacks the tools that MROSync is measured against, and vsftpd, from Debian's packages, without installing them.
#
# To be sourced after servers.sh, from the root of the repository. What it makes:
#   $1/vsftpd, $1/lftp, $1/rclone, $1/wget   the packages, unpacked
#   $1/lib                                   the shared libraries that this machine does not have, for LD_LIBRARY_PATH

PEER_PACKAGES=(vsftpd lftp rclone wget)
PEER_PROGRAMS=(vsftpd/usr/sbin/vsftpd lftp/usr/bin/lftp rclone/usr/bin/rclone wget/usr/bin/wget)

# Makes sure of the tools in directory $1; says why not and fails where that cannot be.
unpack_peers() {
  local target=$1 fresh tool
  if peers_complete "$target"; then
    return 0
  fi
  for tool in apt-get dpkg dpkg-deb dpkg-query ldd; do
    if ! command -v "$tool" >/dev/null; then
      echo "the tools cannot be fetched: there is no $tool on this machine (Debian's packages are needed: ${PEER_PACKAGES[*]})" >&2
      return 1
    fi
  done
  mkdir -p "$(dirname "$target")" && fresh=$(mktemp -d "$target.XXXXXX") || return 1
  chmod 755 "$fresh"
  if fetch_peers "$fresh" && peers_complete "$fresh"; then
    rm -rf "$target"
    mv "$fresh" "$target" && echo "unpacked into $target"
  else
    rm -rf "$fresh"
    return 1
  fi
}

peers_complete() {
  local directory=$1 program missing
  for program in "${PEER_PROGRAMS[@]}"; do
    [[ -f $directory/$program ]] || return 1
    missing=$(LD_LIBRARY_PATH=$directory/lib ldd "$directory/$program" 2>/dev/null | grep 'not found' || true)
    if [[ -n $missing ]]; then
      echo "$program does not find: $missing" >&2
      return 1
    fi
  done
}

fetch_peers() {
  local fresh=$1 package
  mkdir "$fresh/debs" "$fresh/lib" || return 1
  download "$fresh/debs" "${PEER_PACKAGES[@]}" || return 1
  for package in "${PEER_PACKAGES[@]}"; do
    dpkg -x "$fresh/debs/${package}"_*.deb "$fresh/$package" || return 1
  done
  unpack_libraries "$fresh"
}
