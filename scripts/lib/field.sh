# shellcheck shell=bash
# Brings the servers that scripts/field runs against: Debian's packages unpacked, PyPI's in a virtual environment, npm's in
# a prefix. What cannot be had is noted with its reason, and costs the rows that want it and no others.
#
# To be sourced after servers.sh, from the root of the repository. What it makes:
#   $1/debian/PACKAGE   each package, unpacked
#   $1/lib              the shared libraries that this machine does not have, for LD_LIBRARY_PATH
#   $1/venv             PyPI's packages
#   $1/npm/PACKAGE      npm's packages, each with what it asks for
#   $1/missing/NAME     why something is not there

FIELD_DEBIAN=(
  vsftpd proftpd-core proftpd-mod-crypto pure-ftpd inetutils-ftpd python3-pyftpdlib
  openssh-server openssh-sftp-server dropbear-bin tinysshd mysecureshell gesftpserver rclone
  globus-gridftp-server-progs
)
FIELD_PYPI=(pyftpdlib pyOpenSSL aioftp Twisted bcrypt cryptography service_identity asyncssh paramiko)
# the second half is what the package forgets to ask for
FIELD_NPM=("ftp-srv" "simple-ftpd chalk@2" "ftpd" "ssh2")

bring_servers() {
  local field=$1
  mkdir -p "$field"/{debian,lib,npm,missing}
  # the servers run as other users
  chmod 755 "$field" "$field"/*/
  bring_debian "$field"
  bring_pypi "$field"
  bring_npm "$field"
}

# Notes why $2 is not there; what can be tried again is tried again by the next run.
missing() {
  local field=$1 name=$2 reason=$3
  echo "$reason" >"$field/missing/$name"
  echo "not to be had: $name: $reason" >&2
}

bring_debian() {
  local field=$1 package fresh
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    missing "$field" debian "there is no apt-get on this machine"
    return 0
  fi
  fresh=$(mktemp -d "$field/debian.XXXXXX")
  mkdir "$fresh/debs" "$fresh/lib"
  for package in "${FIELD_DEBIAN[@]}"; do
    [[ ! -d $field/debian/$package ]] || continue
    if ! apt_has "$package"; then
      missing "$field" "$package" "no package of this Debian"
    elif download "$fresh/debs" "$package" && dpkg-deb -x "$fresh/debs/${package}"_*.deb "$fresh/$package"; then
      dpkg-deb --field "$fresh/debs/${package}"_*.deb Version >"$fresh/$package/version"
      rm -f "$field/missing/$package"
    else
      missing "$field" "$package" "could not be downloaded"
    fi
  done
  if compgen -G "$fresh/debs/*.deb" >/dev/null; then
    unpack_libraries "$fresh"
    cp -a "$fresh/lib/." "$field/lib/"
    for package in "${FIELD_DEBIAN[@]}"; do
      [[ ! -d $fresh/$package ]] || mv "$fresh/$package" "$field/debian/"
    done
  fi
  rm -rf "$fresh"
}

# Whether apt knows the package; its lists are brought up to date once, where they do not show it.
apt_has() {
  if ! [[ $(apt-cache policy "$1") =~ Candidate:\ [0-9] ]] && [[ -z ${FIELD_LISTS_ARE_NEW:-} ]]; then
    apt-get -q update >/dev/null 2>&1 || true
    FIELD_LISTS_ARE_NEW=yes
  fi
  [[ $(apt-cache policy "$1") =~ Candidate:\ [0-9] ]]
}

bring_pypi() {
  local field=$1 package
  if [[ ! -x $field/venv/bin/python ]] && ! python3 -m venv --copies "$field/venv" >"$field/missing/log" 2>&1; then
    missing "$field" venv "python3 -m venv fails (Debian has it in python3-venv)"
    return 0
  fi
  for package in "${FIELD_PYPI[@]}"; do
    [[ ! -e $field/venv/$package.brought ]] || continue
    if "$field/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$package" >"$field/missing/log" 2>&1; then
      touch "$field/venv/$package.brought"
      rm -f "$field/missing/$package"
    else
      missing "$field" "$package" "pip: $(tail -n 1 "$field/missing/log")"
    fi
  done
  rm -f "$field/missing/log"
}

bring_npm() {
  local field=$1 wanted name packages
  for wanted in "${FIELD_NPM[@]}"; do
    read -ra packages <<<"$wanted"
    name=${packages[0]}
    [[ ! -d $field/npm/$name/node_modules/$name ]] || continue
    if ! command -v npm >/dev/null; then
      missing "$field" "$name" "there is no npm on this machine"
    elif npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$field/npm/$name" "${packages[@]}" >/dev/null 2>&1; then
      rm -f "$field/missing/$name"
    else
      missing "$field" "$name" "npm cannot install it"
    fi
  done
}
