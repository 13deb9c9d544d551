# shellcheck shell=bash
# Unpacks Debian's FTP daemons, OpenSSH, PostgreSQL and pgbouncer for the tests, without installing them: as packages the
# FTP daemons exclude each other.
#
# To be sourced, from the root of the repository. What it makes:
#   $1/vsftpd, $1/proftpd, $1/pure-ftpd, $1/sshd   the packages, unpacked
#   $1/postgres, $1/pgbouncer
#   $1/lib                                         the shared libraries that this machine does not have, for LD_LIBRARY_PATH

SERVER_PACKAGES=(vsftpd proftpd-core proftpd-mod-crypto pure-ftpd openssh-server pgbouncer)
SERVER_PROGRAMS=(
  vsftpd/usr/sbin/vsftpd
  proftpd/usr/sbin/proftpd
  proftpd/usr/lib/proftpd/mod_tls.so
  pure-ftpd/usr/sbin/pure-ftpd
  pure-ftpd/usr/bin/pure-pw
  sshd/usr/sbin/sshd
  pgbouncer/usr/sbin/pgbouncer
)
# Its directory has the version in its name.
POSTGRES_PROGRAMS=(initdb postgres)

# Makes sure of the daemons in directory $1; says why not and fails where that cannot be.
unpack_servers() {
  local target=$1
  if servers_complete "$target"; then
    echo "already in $target"
    return 0
  fi
  local tool
  for tool in apt-get apt-cache dpkg dpkg-deb dpkg-query ldd; do
    if ! command -v "$tool" >/dev/null; then
      echo "the daemons cannot be fetched: there is no $tool on this machine (Debian's packages are needed: ${SERVER_PACKAGES[*]})" >&2
      return 1
    fi
  done
  local fresh
  mkdir -p "$(dirname "$target")" && fresh=$(mktemp -d "$target.XXXXXX") || return 1
  # mktemp makes it root's alone, and the daemons load their modules as other users
  chmod 755 "$fresh"
  # a half-made directory is never taken for the daemons
  if fetch_and_unpack "$fresh" && servers_complete "$fresh"; then
    rm -rf "$target"
    mv "$fresh" "$target" && echo "unpacked into $target"
  else
    rm -rf "$fresh"
    return 1
  fi
}

# Whether every program is there and finds its libraries.
servers_complete() {
  local directory=$1 program missing postgres
  postgres=$(cd "$directory" 2>/dev/null && echo postgres/usr/lib/postgresql/*/bin)
  for program in "${SERVER_PROGRAMS[@]}" "${POSTGRES_PROGRAMS[@]/#/$postgres/}"; do
    [[ -f $directory/$program ]] || return 1
    missing=$(LD_LIBRARY_PATH=$directory/lib ldd "$directory/$program" | grep 'not found' || true)
    if [[ -n $missing ]]; then
      echo "$program does not find: $missing" >&2
      return 1
    fi
  done
}

fetch_and_unpack() {
  local fresh=$1 package postgres
  mkdir "$fresh/debs" "$fresh/lib" || return 1
  download "$fresh/debs" "${SERVER_PACKAGES[@]}" || return 1
  postgres=$(apt-cache depends postgresql | sed -n 's/^ *Depends: *\(postgresql-[0-9]*\)$/\1/p' | head -n 1)
  download "$fresh/debs" "$postgres" || return 1
  dpkg -x "$fresh/debs/${postgres}"_*.deb "$fresh/postgres" || return 1
  dpkg -x "$fresh"/debs/pgbouncer_*.deb "$fresh/pgbouncer" || return 1
  dpkg -x "$fresh"/debs/vsftpd_*.deb "$fresh/vsftpd" || return 1
  dpkg -x "$fresh"/debs/pure-ftpd_*.deb "$fresh/pure-ftpd" || return 1
  dpkg -x "$fresh"/debs/openssh-server_*.deb "$fresh/sshd" || return 1
  for package in proftpd-core proftpd-mod-crypto; do
    dpkg -x "$fresh/debs/${package}"_*.deb "$fresh/proftpd" || return 1
  done
  unpack_libraries "$fresh"
}

# The libraries that the packages ask for and this machine lacks, and what those ask for, and so on.
unpack_libraries() {
  local fresh=$1 seen=" " wanted library
  while true; do
    wanted=()
    for library in $(needed_libraries "$fresh"/debs/*.deb); do
      if [[ $seen != *" $library "* ]] && ! is_installed "$library"; then
        wanted+=("$library")
        seen+="$library "
      fi
    done
    ((${#wanted[@]} > 0)) || break
    download "$fresh/debs" "${wanted[@]}" || return 1
    for library in "${wanted[@]}"; do
      dpkg -x "$fresh/debs/${library}"_*.deb "$fresh/unpacked" || return 1
    done
  done
  [[ -d $fresh/unpacked ]] || return 0
  # flat, so that one directory serves for LD_LIBRARY_PATH whatever the machine's architecture is called
  find "$fresh/unpacked" -name 'lib*.so*' -exec cp -P {} "$fresh/lib/" \;
  rm -rf "$fresh/unpacked"
}

# The names of the library packages that these packages depend on; of alternatives the first. LLVM, by far the largest, is
# for queries that nobody asks here.
needed_libraries() {
  local package
  for package in "$@"; do
    dpkg-deb --field "$package" Depends
  done | tr ',' '\n' | sed -E 's/\|.*//; s/\(.*//; s/:any//; s/ //g' | grep '^lib' | grep -v '^libllvm' | sort -u || true
}

is_installed() {
  [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Downloads packages into directory $1; refreshes apt's lists where they are empty or out of date.
download() {
  local directory=$1
  shift
  if apt_download "$directory" "$@"; then
    return 0
  fi
  echo "apt's lists are empty or old: apt-get update"
  if ! apt-get -q update >"$directory/update.log" 2>&1; then
    tail -n 5 "$directory/update.log" >&2
  fi
  if ! apt_download "$directory" "$@"; then
    cat "$directory/download.log" >&2
    echo "apt-get download failed for: $*" >&2
    return 1
  fi
}

apt_download() {
  local directory=$1 options=(-q)
  shift
  # root's directories are closed to apt's own user, which it would warn about
  [[ $EUID -eq 0 ]] && options+=(-o APT::Sandbox::User=root)
  (cd "$directory" && apt-get "${options[@]}" download "$@" >download.log 2>&1)
}
