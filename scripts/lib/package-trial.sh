#!/usr/bin/env bash
# Installs, starts, upgrades and purges the packages in the clean root $1. Called by scripts/package, in namespaces of
# its own.
set -euo pipefail
root=$1
inside() { DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }
as_service() { chroot --userspec=mrosync:mrosync "$root" "$@"; }

said() {
  echo "package: $*" >&2
  cat "$root/var/log/mrosync/mrosync.log" 2>/dev/null || true
  exit 1
}

# Waits up to 20 s until the command succeeds.
until_true() {
  local what=$1
  shift
  for ((i = 0; i < 200; i++)); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  said "still not so after 20 s: $what"
}

# Whether there are so many records.
recorded() { [[ $(as_service mrosync records --format json | wc -l) -eq $1 ]]; }

# The unit's own command line, in the directories that systemd would make for it.
start() {
  local line
  line=$(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/mrosync.service")
  inside install -d -o mrosync -g mrosync /var/lib/mrosync /var/log/mrosync /run/mrosync
  # not by the function: its process would get the signal, and not the service
  # shellcheck disable=SC2086
  chroot --userspec=mrosync:mrosync "$root" $line </dev/null &
  service=$!
  until_true "the service answers" as_service mrosync ctl status
}

end() {
  as_service mrosync ctl stop
  kill -TERM $service
  wait $service || said "it ended with $?"
}

ip link set lo up
mount -t proc proc "$root/proc"
mount -t devtmpfs dev "$root/dev" 2>/dev/null || mount --bind /dev "$root/dev"

echo "== install"
inside dpkg --install /srv/first.deb
for file in usr/bin/mrosync usr/lib/systemd/system/mrosync.service usr/share/man/man1/mrosync.1.gz \
  usr/share/bash-completion/completions/mrosync usr/share/zsh/vendor-completions/_mrosync \
  usr/share/fish/vendor_completions.d/mrosync.fish etc/logrotate.d/mrosync; do
  [[ -s $root/$file ]] || said "$file is missing"
done
[[ $(inside stat -c '%U:%G %a' /etc/mrosync/mrosync.toml) == "root:mrosync 640" ]] || said "the configuration is open"
[[ $(inside stat -c '%U %a' /sync) == "mrosync 750" ]] || said "/sync is not the service's"
inside mrosync --version

echo "== start by the unit's command line"
mkdir -p "$root/srv/ftp/MR/empty"
printf 'not really a zip' >"$root/srv/ftp/MR/first.zip"
chmod -R a+rX "$root/srv/ftp"
cat >"$root/etc/vsftpd.conf" <<'CONF'
listen=YES
listen_port=2121
anonymous_enable=YES
local_enable=NO
seccomp_sandbox=NO
anon_root=/srv/ftp
CONF
inside install -d /run/vsftpd/empty
inside /usr/sbin/vsftpd /etc/vsftpd.conf &
cat >"$root/etc/mrosync/mrosync.toml" <<'CONF'
[sync]
interval = "200ms"
[quota]
max_used_percent = 99
[notify]
url = "http://127.0.0.1:1/dls.php"
[log]
file = "/var/log/mrosync/mrosync.log"
[[servers]]
name = "omc01"
host = "127.0.0.1"
port = 2121
CONF
start
until_true "the zip is recorded" recorded 1
end
[[ -s $root/sync/omc01/MR/first.zip && -d $root/sync/omc01/MR/empty ]] || said "the mirror is incomplete"
configuration=$(sha256sum <"$root/etc/mrosync/mrosync.toml")
records=$(as_service mrosync records --format json)

echo "== upgrade"
inside dpkg --install --force-confold /srv/next.deb
[[ $(inside dpkg-query --show --showformat '${Version}' mrosync) == *-2 ]] || said "it is not upgraded"
[[ $(sha256sum <"$root/etc/mrosync/mrosync.toml") == "$configuration" ]] || said "the configuration is lost"
[[ $(as_service mrosync records --format json) == "$records" ]] || said "the records are lost"
inside cp /srv/ftp/MR/first.zip /srv/ftp/MR/second.zip
start
until_true "the next zip is recorded" recorded 2
[[ $(as_service mrosync records --format json | head -n 1) == "$records" ]] || said "it was fetched again"

echo "== rotate"
# no systemd runs in here: this passes on what systemctl would
mkdir -p "$root/usr/local/bin"
cat >"$root/usr/local/bin/systemctl" <<STAND_IN
#!/bin/sh
[ "\$*" = "kill --signal=HUP mrosync.service" ] && kill -HUP $service
STAND_IN
chmod 755 "$root/usr/local/bin/systemctl"
log=$root/var/log/mrosync/mrosync.log
inside logrotate --force /etc/logrotate.d/mrosync
rm "$root/usr/local/bin/systemctl"
[[ -s $log.1 ]] || said "the log was not rotated"
until_true "the log is opened again" grep "the configuration is read again: 1 server untouched" "$log"
rotated=$(wc -c <"$log.1")

echo "== reload by the unit's command line"
cat >>"$root/etc/mrosync/mrosync.toml" <<'CONF'
[[servers]]
name = "omc02"
host = "127.0.0.1"
port = 2121
CONF
# shellcheck disable=SC2046
as_service $(sed -n 's/^ExecReload=//p' "$root/usr/lib/systemd/system/mrosync.service")
until_true "the new server's zips are recorded" recorded 4
end
[[ $(wc -c <"$log.1") -eq $rotated ]] || said "the old log was written to"

echo "== purge"
inside dpkg --purge mrosync
for gone in usr/bin/mrosync etc/mrosync var/lib/mrosync var/log/mrosync etc/logrotate.d/mrosync; do
  [[ ! -e $root/$gone ]] || said "$gone is still there"
done
[[ -s $root/sync/omc01/MR/first.zip ]] || said "the purge took the mirror"
echo "== the package installs, starts, upgrades and goes"
