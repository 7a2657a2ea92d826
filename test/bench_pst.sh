#!/bin/bash
# Exports one PST file with Expost, readpst and pffexport on one processor, and puts
# it into the store, one after another; then what Expost makes of two processors.
# Prints the table of docs/pst.md: seconds, seconds of processor, MB/s and messages/s
# of wall time, and the most memory. MB and MESSAGES choose the size of the file,
# which the writer of package pst makes: some 2 GB. Run it with no other load, as
#
#     bash test/bench_pst.sh
#
# Nothing is deleted before the end: ext4 is slow in giving out what was freed a
# moment ago, and the next program would pay for it. A program gets at most LIMIT
# seconds; pffexport, which takes longest, reads a tenth of the messages, and its line
# says so.
set -euo pipefail
cd "$(dirname "$0")/.."
messages=${MESSAGES:-100000} mb=${MB:-1400} limit=${LIMIT:-100}
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
file=$dir/bench.pst small=$dir/small.pst
make -s build
CGO_ENABLED=0 go test -c -o "$dir/pst.test" ./pst
make_file() { # file messages MB
  (cd pst && EXPOST_PST_FILE=$1 EXPOST_PST_MESSAGES=$2 EXPOST_PST_MB=$3 "$dir/pst.test" -test.run TestWriterLarge >/dev/null)
}
make_file "$file" "$messages" "$mb"
make_file "$small" $((messages / 10)) $((mb / 10))
cat "$file" >/dev/null # into memory, for whoever comes first
echo "$messages messages, $(($(stat -c %s "$file") / 1000000)) MB, $(nproc) processors, $(uname -m)"
echo
echo '| | wall s | processor s | MB/s | messages/s | memory |'
echo '|---|---|---|---|---|---|'
measure() { # processors file messages name command…
  local processors=$1
  shift
  sync
  GOMAXPROCS=$processors taskset -c "0-$((processors - 1))" python3 - "$limit" "$@" <<'P'
import os, resource, subprocess, sys, time
limit, size, messages, name = int(sys.argv[1]), os.path.getsize(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
start = time.time()
try:
    subprocess.run(sys.argv[5:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=limit)
except subprocess.TimeoutExpired:
    print(f"| {name} | more than {limit} | | | | |", flush=True)
    sys.exit()
wall, use = time.time() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"| {name} | {wall:.1f} | {use.ru_utime + use.ru_stime:.1f} | {size / 1e6 / wall:.0f} | {messages / wall:.0f} | {use.ru_maxrss / 1024:.0f} MB |", flush=True)
P
}
out() { mkdir -p "$dir/$1"; echo "$dir/$1"; }
store() { # name: an empty store with one account
  bin/expost account add a@example.org --no-password --data "$dir/$1" >/dev/null
  echo "$dir/$1"
}
one() { measure 1 "$file" "$messages" "$@"; }
two() { measure 2 "$file" "$messages" "$@"; }
tenth() { measure 1 "$small" $((messages / 10)) "$@"; }
one 'readpst, mbox' readpst -q -D -j 0 -o "$(out rm)" "$file"
one 'expost pst export, mbox' bin/expost pst export "$file" "$(out em)" --format mbox
one 'readpst, a file each' readpst -q -D -e -j 0 -o "$(out re)" "$file"
one 'expost pst export, .eml' bin/expost pst export "$file" "$(out ee)" --format eml
one 'expost pst export, Maildir with UIDs and a ledger' bin/expost pst export "$file" "$(out ed)/maildir"
one 'expost import, into the store' bin/expost import a@example.org "$file" --data "$(store s1)"
tenth 'pffexport, a tenth of the messages' pffexport -q -m items -t "$(out p)/p" "$small"
tenth 'expost pst export, .eml, a tenth of the messages' bin/expost pst export "$small" "$(out et)" --format eml
if [ "$(nproc)" -gt 1 ]; then
  two 'expost pst export, .eml, two processors' bin/expost pst export "$file" "$(out e2)" --format eml
  two 'expost pst export, Maildir, two processors' bin/expost pst export "$file" "$(out d2)/maildir"
  two 'expost import, two processors' bin/expost import a@example.org "$file" --data "$(store s2)"
fi
