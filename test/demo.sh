#!/bin/bash
# make demo: a small organisation leaves Exchange. Everything happens in a fresh
# folder, on loopback ports that need no privileges; the server stays up until
# you stop it. DEMO_DIR and DEMO_PORTS (default 1000: IMAP on 1143) change where.
set -euo pipefail
cd "$(dirname "$0")/.."
expost=$PWD/bin/expost
base=${DEMO_PORTS:-1000}
dir=${DEMO_DIR:-${TMPDIR:-/tmp}/expost-demo}
port() { echo "127.0.0.1:$((base + $1))"; }
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ expost'; printf ' %q' "$@"; echo; "$expost" "$@" --config "$dir/expost.toml"; }

# An earlier demo makes room for this one.
exe=$(readlink "/proc/$(cat "$dir/pid" 2>/dev/null)/exe" 2>/dev/null || true)
if [ "${exe% (deleted)}" = "$expost" ]; then
  kill "$(cat "$dir/pid")"
  while kill -0 "$(cat "$dir/pid")" 2>/dev/null; do sleep 0.1; done
fi
rm -rf "$dir" && mkdir -p "$dir"

step "The old organisation: an address list and mailboxes, as an Exchange export leaves them"
cat > "$dir/expost.toml" <<EOF
hostname = "mail.linuxforu.com"
domains  = ["linuxforu.com"]
data     = "data"
[listen]
smtp = "$(port 25)"
submission = "$(port 587)"
submissions = "$(port 465)"
imap = "$(port 143)"
imaps = "$(port 993)"
pop3 = ""
pop3s = ""
ldap = "$(port 389)"
ldaps = "$(port 636)"
http = ""
https = ""
metrics = ""
[directory]
anonymous = ["ou=addressbook,dc=linuxforu,dc=com"]
EOF
run sample "$dir/exchange"
ls -l "$dir/exchange"

step "The server"
echo "\$ expost serve --config $dir/expost.toml &"
setsid "$expost" serve --config "$dir/expost.toml" --ready-file "$dir/ready" >"$dir/server.log" 2>&1 </dev/null &
pid=$!
echo $pid > "$dir/pid"
until [ -e "$dir/ready" ]; do
  kill -0 $pid 2>/dev/null || { cat "$dir/server.log" >&2; exit 1; }
  sleep 0.05
done
cat "$dir/ready"

step "The address list: read, repaired, put into the directory; an account for everyone in it"
run gal import "$dir/exchange/addressbook.csv" --base ou=addressbook,dc=linuxforu,dc=com --accounts --passwords "$dir/passwords.csv"

step "The mailboxes: every folder, flag and date"
run migrate plan -f "$dir/exchange/migration.toml" --user biswajit@linuxforu.com
run migrate run -f "$dir/exchange/migration.toml"
run migrate verify -f "$dir/exchange/migration.toml"

user=biswajit@linuxforu.com
pass=$(awk -F, -v u="$user" '$1 == u { print $3 }' "$dir/passwords.csv")

step "A message to a colleague arrives at once"
# Spoken by hand, so that the demo needs nothing but a shell.
exec 3<>"/dev/tcp/127.0.0.1/$((base + 25))"
smtp() { [ $# -eq 0 ] || printf '%s\r\n' "$@" >&3; IFS= read -r line <&3; echo "${1:+C: $1
}S: ${line%$'\r'}"; }
smtp; smtp "HELO demo"; smtp "MAIL FROM:<ajay@linuxforu.com>"; smtp "RCPT TO:<$user>"; smtp DATA
smtp "From: Ajay <ajay@linuxforu.com>" "To: Biswajit <$user>" "Subject: We have moved" "Date: $(date -R)" "Message-ID: <moved@linuxforu.com>" "" "Nobody noticed." .
smtp QUIT
exec 3<>"/dev/tcp/127.0.0.1/$((base + 143))"
imap() { printf 'a %s\r\n' "$1" >&3; while IFS= read -r line <&3; do case $line in "a "*) break ;; "* SEARCH"*) echo "S: ${line%$'\r'}" ;; esac; done; }
imap "LOGIN $user $pass"; imap "EXAMINE INBOX"
echo 'C: SEARCH SUBJECT "We have moved"'
imap 'SEARCH SUBJECT "We have moved"'; imap LOGOUT
exec 3>&-

step "Expost is up (process $pid, everything in $dir)"
cat <<EOF
  IMAP      $(port 143), with TLS $(port 993)    $user   password $pass
            every account's password is in $dir/passwords.csv
  Sending   $(port 587), with TLS $(port 465)
  LDAP      ldap://$(port 389)   base ou=addressbook,dc=linuxforu,dc=com   (no login needed)

  curl --user '$user:$pass' 'imap://$(port 143)/'
  ldapsearch -x -LLL -H ldap://$(port 389) -b ou=addressbook,dc=linuxforu,dc=com '(cn=Bis*)' cn mail telephoneNumber
  $expost account list --config $dir/expost.toml

  Stop it with: kill $pid
EOF
