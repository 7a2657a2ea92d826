#!/bin/bash
# The migration beside mbsync, doveadm backup and (where IMAPSYNC names it)
# imapsync: 1 and 8 users of 2,000 messages, first and second pass. Called by
# bench.sh with the scratch folder, Expost's folder and its process.
set -euo pipefail
scratch=$1 node=$2 pid=$3
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$scratch"
[ -s data/migrate.size ] || ./migrate_load.sh fill 8 2000 > /dev/null
for users in 1 8; do
  {
    printf '[source]\nkind = "imap"\naddress = "127.0.0.1:14143"\ntls = "none"\npassword-file = "pass"\nlogin = "{local}"\n[target]\nkind = "store"\n'
    for i in $(seq 0 $((users - 1))); do printf '[[user]]\nsource = "u%d@expost.test"\ntarget = "u%d@expost.test"\n' "$i" "$i"; done
  } > "$node/migration$users.toml"
  printf pass > "$node/pass"
  by=$(for i in $(seq 0 $((users - 1))); do du -sb --apparent-size "data/dovS/u$i/Maildir"; done | awk '{s+=$1} END {print s}')
  for i in $(seq 0 $((users - 1))); do
    printf 'pass\n' | "$root/bin/expost" account remove "u$i@expost.test" --yes --config "$node/expost.toml" >/dev/null || true
    printf 'pass\n' | "$root/bin/expost" account add "u$i@expost.test" --password-stdin --config "$node/expost.toml" >/dev/null
  done
  rm -f "$node/migration$users".ledger*
  for pass in first second; do
    s0=$(bin/ptree "$(./stack.sh roots dovS)") d0=$(bin/ptree "$pid") t0=$(date +%s.%N)
    "$root/bin/expost" migrate run -f "$node/migration$users.toml" --config "$node/expost.toml" >> "$node/migrate.log" 2>&1
    t1=$(date +%s.%N) s1=$(bin/ptree "$(./stack.sh roots dovS)") d1=$(bin/ptree "$pid")
    awk -v m="migrate.expost.u$users.p$users.$pass" -v n=$((users * 2000)) -v b="$by" -v t="$(echo "$t1 - $t0" | bc)" -v s="$(echo "$s1 - $s0" | bc)" -v d="$(echo "$d1 - $d0" | bc)" \
      'BEGIN { OFS="\t"; x="dovS->expost"; print x,m".wall",t,"s"; print x,m".rate",n/t,"msgs/s"; print x,m".mb",b/t/1e6,"MB/s"; print x,m".source_cpu",s,"s"; print x,m".target_cpu",d,"s" }'
  done
  for tool in mbsync doveadm ${IMAPSYNC:+imapsync}; do ./migrate_load.sh run "$tool" "$users" "$users"; done
done
