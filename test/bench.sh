#!/bin/bash
# make bench: Expost beside the incumbents, in one run on one machine. The load
# programs are a folder of their own: BENCH_KIT names it (default ../shared/bench).
# Needs root on Debian 12, since it installs Postfix, Dovecot and slapd there.
#   test/bench.sh [imap] [smtp] [outbound] [ldap] [migrate]     default: all
# RUNS=3 is how often each row is measured. IMAP_PEERS="dovA dovB" are the servers
# beside which IMAP is measured (cour: Courier; its rows take half an hour), IMAP_DO
# the loads: idleconns is 5,000 connections in IDLE. IMAP and LDAP end with a table
# for docs/. ENTRIES=100000 is how many people LDAP is measured with, SECS=1 how long
# each of its rows takes; with RUNS=3 that is about three minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
kit=${BENCH_KIT:-../shared/bench}
if [ ! -d "$kit" ]; then
  echo "bench: no load programs at $kit (BENCH_KIT); the peers are not measured" >&2
  exit 0
fi
scratch=${BENCH_SCRATCH:-$(mktemp -d)}
if [ ! -x "$scratch/bin/imap_load" ]; then
  cp -r "$kit/." "$scratch"
  chmod -R u+w "$scratch"; chmod 755 "$scratch"
  (cd "$scratch" && ./setup.sh > setup.log 2>&1) || { tail -5 "$scratch/setup.log" >&2; exit 1; }
fi
what=("$@"); [ ${#what[@]} -gt 0 ] || what=(imap smtp outbound ldap migrate)
runs=${RUNS:-3}
res=$scratch/res; mkdir -p "$res"

# Expost with the load programs' users: u0..u599, 0bulk..99bulk, password "pass".
node=$scratch/expost
start_expost() {
  rm -rf "$node"; mkdir -p "$node"
  cat > "$node/expost.toml" <<EOF
hostname = "expost.test"
domains = ["expost.test"]
data = "data"
[listen]
smtp = "127.0.0.1:17025"
lmtp = "127.0.0.1:17024"
submission = ""
submissions = ""
imap = "127.0.0.1:17143"
imaps = ""
pop3 = ""
pop3s = ""
ldap = "127.0.0.1:17389"
ldaps = ""
http = ""
https = ""
metrics = ""
[directory]
suffix = "dc=linuxforu,dc=com"
root-dn = "cn=admin,dc=linuxforu,dc=com"
root-password-file = "root-password"
[policy]
relay-networks = ["127.0.0.1"]
user-recipients = 0
user-recipients-day = 0
[queue.smarthost]
host = "127.0.0.1:17999"
[log]
level = "error"
EOF
  printf pass > "$node/root-password"; chmod 600 "$node/root-password"
  if [ "${what[*]}" = ldap ]; then # no load program logs in
    mkdir -m 700 "$node/data"
  elif [ -d "$scratch/accounts" ]; then # that a run before has made
    cp -a "$scratch/accounts" "$node/data"
  else
    add_accounts
    cp -a "$node/data" "$scratch/accounts"
  fi
  # run and stop are programs of their own: the load program restarts the server for its cold rows.
  cat > "$node/run" <<EOF
#!/bin/bash
ulimit -n 20000
rm -f "$node/ready"
setsid "$root/bin/expost" serve --config "$node/expost.toml" --ready-file "$node/ready" </dev/null >> "$node/log" 2>&1 &
echo \$! > "$node/pid"
until [ -e "$node/ready" ]; do kill -0 \$! || { cat "$node/log" >&2; exit 1; }; sleep 0.1; done
EOF
  cat > "$node/stop" <<EOF
#!/bin/bash
kill \$(cat "$node/pid")
while kill -0 \$(cat "$node/pid") 2>/dev/null; do sleep 0.05; done
EOF
  chmod +x "$node/run" "$node/stop"
  "$node/run"
  pid=$(cat "$node/pid")
}
add_accounts() {
  local users=(bulk@expost.test); for i in $(seq 0 599); do users+=("u$i@expost.test"); done; for i in $(seq 0 99); do users+=("${i}bulk@expost.test"); done
  printf 'pass\n' | "$root/bin/expost" account add "${users[@]}" --password-stdin --config "$node/expost.toml" > "$node/accounts.log"
}
stop_expost() { "$node/stop" 2>/dev/null || true; }
started=()
stack() {
  if [ "$1" = start ]; then started+=("${@:2}"); fi
  (cd "$scratch" && ./stack.sh "$@")
}
cleanup() { stop_expost; [ ${#started[@]} -eq 0 ] || stack stop "${started[@]}"; }
trap cleanup EXIT
trap 'exit 1' INT TERM HUP # also then

# imap_table FILE: medians as a table, seconds and seconds of processor time; the
# last columns say by how many times Expost is ahead of the quickest of the others,
# and what share of the processor it takes of what the most frugal takes. Processor
# time is counted in hundredths of a second: what takes less shows as 0.
imap_table() {
  ./median.sh "$1" | awk -F'\t' '
    { n = split($2, part, "."); kind = part[n]; row = substr($2, 1, length($2) - length(kind) - 1) }
    kind == "p50" || kind == "p95" || kind == "pss_per_conn" { row = $2; kind = "wall"; unit[row] = ", " $NF }
    kind != "wall" && kind != "cpu" { next }
    !($1 in known) { known[$1] = 1; label[++labels] = $1 }
    !(row in seen) { seen[row] = 1; rows[++count] = row }
    { v[row, $1, kind] = $3 }
    function num(x) { return x == "" ? "-" : sprintf("%.3g", x) }
    END {
      head = "| load |"; line = "|---|"
      for (i = 1; i <= labels; i++) { head = head " " label[i] " s | CPU s |"; line = line "---|---|" }
      print head " times as fast | share of CPU |"; print line "---|---|"
      for (r = 1; r <= count; r++) {
        row = rows[r]; s = "| " row unit[row] " |"; best = cpu = ew = ec = ""
        for (i = 1; i <= labels; i++) {
          w = v[row, label[i], "wall"]; c = v[row, label[i], "cpu"]
          s = s " " num(w) " | " num(c) " |"
          if (label[i] == "expost") { ew = w; ec = c; continue }
          if (w != "" && (best == "" || w + 0 < best)) best = w + 0
          if (c != "" && (cpu == "" || c + 0 < cpu)) cpu = c + 0
        }
        print s " " (best == "" || ew + 0 == 0 ? "-" : num(best / ew)) " | " (cpu + 0 == 0 ? "-" : num(ec / cpu)) " |"
      }
    }'
}

# ldap_table FILE: medians as a table, of Expost and slapd.
ldap_table() {
  ./median.sh "$1" | awk -F'\t' '
    { v[$2, $1] = $3; if (!($2 in unit)) { unit[$2] = $NF; order[++count] = $2 } }
    function num(x) { return x == "" ? "-" : sprintf("%.3g", x) }
    END {
      print "| | Expost | slapd | times |"; print "|---|---|---|---|"
      for (i = 1; i <= count; i++) {
        row = order[i]; e = v[row, "expost"]; s = v[row, "slapd"]; more = row ~ /[.]rate$/
        print "| " substr(row, 6) ", " unit[row] " | " num(e) " | " num(s) " | " (e + 0 == 0 || s + 0 == 0 ? "-" : num(more ? e / s : s / e)) " |"
      }
    }'
}
# ldap_fill LABEL N COMMAND...: has N entries loaded, and tells rate and CPU time.
ldap_fill() {
  local label=$1 n=$2 began ended cpu
  began=$(date +%s.%N)
  cpu=$( { "${@:3}" > "$scratch/fill.log" 2>&1; times; } | tail -1 | sed 's/[ms]/ /g')
  ended=$(date +%s.%N)
  awk -v l="$label" -v n="$n" -v t0="$began" -v t1="$ended" -v cpu="$cpu" 'BEGIN {
    OFS = "\t"; split(cpu, c, " ")
    print l, "ldap.fill.rate", n / (t1 - t0), "entries/s"; print l, "ldap.fill.cpu", c[1] * 60 + c[2] + c[3] * 60 + c[4], "s" }' >> "$out"
}

start_expost
cd "$scratch"
for w in "${what[@]}"; do
  out=$res/$w.tsv; : > "$out"
  case $w in
  imap)
    imap() { # label, port, and programs: that prints its processes, that stops it, that starts it
      PIDS_CMD=$3 bin/imap_load -host 127.0.0.1 -port "$2" -user u%d -pass pass -prefix "${prefix:-}" -label "$1" -pids "$($3)" -runs "$runs" \
        -do "${IMAP_DO:-login,fill,select,fetch,store,search,append,copy,idle}" -coldcmd "$4; sync; echo 3 > /proc/sys/vm/drop_caches; $5" >> "$out"
    }
    peers=${IMAP_PEERS:-dovA dovB}
    stack start $peers
    imap expost 17143 "cat $node/pid" "$node/stop" "$node/run"
    for peer in $peers; do
      case $peer in dovA) port=11143 ;; dovB) port=12143 ;; cour) port=13143 prefix=INBOX. ;; esac
      imap "$peer" "$port" "$scratch/stack.sh roots $peer" "$scratch/stack.sh stop $peer" "$scratch/stack.sh start $peer"
    done
    imap_table "$out"
    pid=$(cat "$node/pid") ;;
  smtp)
    stack start dovB pfix
    for load in "-n 300 -s 1 -l 4096" "-n 1500 -s 16 -l 4096" "-n 100 -s 1 -l 102400" "-n 300 -s 16 -l 102400" \
      "-n 30 -s 1 -l 4096 -r 50" "-n 48 -s 16 -l 4096 -r 50" "-n 8 -s 1 -l 102400 -r 50" "-n 16 -s 16 -l 102400 -r 50"; do
      ./smtp_load.sh -h 127.0.0.1 -p 17025 -i 17143 -d expost.test $load -P "$pid" -x expost -k "$runs" >> "$out"
      ./smtp_load.sh -h 127.0.0.1 -p 10025 -i 12143 -d dovb.test $load -P "$(stack roots dovB),$(stack roots pfix)" -x postfix+dovB -k "$runs" >> "$out"
      ./smtp_load.sh -h 127.0.0.1 -p 12024 -i 12143 -d dovb.test $load -L -P "$(stack roots dovB)" -x lmtp-dovB -k "$runs" >> "$out"
    done ;;
  outbound)
    outbound() { # label, port, processes, messages, bytes: through the server to smtp-sink
      # -c counts; -M would end it before its last reply, and the message would be sent again in the next run.
      smtp-sink -u nobody -c 127.0.0.1:17999 1000 > "$scratch/sink" &
      local sink=$! cpu began ended
      sleep 1 # until it listens
      cpu=$(bin/ptree "$3"); began=$(date +%s.%N)
      smtp-source -s 16 -m "$4" -l "$5" -f sender@bench.test -t x@sink.test "127.0.0.1:$2"
      until [ "$(tr '\r' '\n' < "$scratch/sink" | tail -1 | sed 's/.*mesg=//')" -ge "$4" ] 2>/dev/null; do sleep 0.05; done
      ended=$(date +%s.%N); sleep 0.5 # the last reply is on its way
      awk -v l="$1" -v n="$4" -v m="outbound.s16.l$5" -v t0="$began" -v t1="$ended" -v c0="$cpu" -v c1="$(bin/ptree "$3")" \
        'BEGIN { OFS = "\t"; print l, m ".sent", n / (t1 - t0), "msgs/s"; print l, m ".cpu", 1000 * (c1 - c0) / n, "ms/msg" }' >> "$out"
      kill $sink; wait $sink 2>/dev/null || true
    }
    stack start pfix
    grep -q 17999 etc/postfix/main.cf || {
      sed -i 's|^transport_maps = inline:{|transport_maps = inline:{ { sink.test = smtp:[127.0.0.1]:17999 },|' etc/postfix/main.cf
      postconf -c etc/postfix -e smtp_dns_support_level=disabled default_process_limit=100
      postfix -c "$scratch/etc/postfix" reload 2>/dev/null
    }
    for _ in $(seq "$runs"); do
      for load in "2000 4096" "400 102400"; do
        outbound expost 17025 "$pid" $load
        outbound postfix 10025 "$(stack roots pfix)" $load
      done
    done ;;
  ldap)
    # Both are filled by their own tools while they are stopped: Expost's syncs, slapd's does not.
    n=${ENTRIES:-100000}
    bin/ldap_load -do ldif -n "$n" -o data/ab.ldif
    "$node/stop"
    ldap_fill expost "$n" "$root/bin/expost" directory import data/ab.ldif --config "$node/expost.toml"
    "$node/run"; pid=$(cat "$node/pid")
    ./stack.sh stop slapd; ./stack.sh wipe slapd; stack start slapd; ./stack.sh stop slapd
    ldap_fill slapd "$n" slapadd -q -f etc/slapd.conf -l data/ab.ldif
    ./stack.sh start slapd
    for server in "expost 17389 $pid" "slapd 13890 $(stack roots slapd)"; do
      set -- $server
      bin/ldap_load -addr "127.0.0.1:$2" -binddn cn=admin,dc=linuxforu,dc=com -pass pass -base dc=linuxforu,dc=com -label "$1" -pids "$3" \
        -n "$n" -do search,paged -runs "$runs" -secs "${SECS:-1}" >> "$out"
    done
    ldap_table "$out" ;;
  migrate)
    stack start dovS dovT
    "$root/test/bench_migrate.sh" "$scratch" "$node" "$pid" >> "$out" ;;
  esac
  echo "== $w"; ./median.sh "$out"
done
