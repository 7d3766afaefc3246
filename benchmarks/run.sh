#!/usr/bin/env bash
# Runs the benchmarks of this module and writes what they print to results/, a file
# for each package, headed by what they ran on. See README.md.
#
#	./run.sh                  # all: about 25 minutes, which the machine should have to itself
#	./run.sh lookup           # one package
#	COUNT=1 ./run.sh          # a first look: figures without confidence intervals
#
# Rows of Redis need redis-server in PATH, and http needs nginx. KEYSTORE_BENCH_DIR names a folder for stores
# of Badger with 10^6 and 10^7 keys (4 GB), which are made there once; without it these
# sizes are left out.
set -euo pipefail
cd "$(dirname "$0")"

count=${COUNT:-10}
benchtime=${BENCHTIME:-500ms}
packages=("$@")
if [ $# -eq 0 ]; then packages=(lookup manage peers limits http); fi

version() { go list -m -f '{{.Version}}' "$1"; }

# configuration lines, which golang.org/x/perf/benchfmt reads
configuration() {
	echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -1 | grep . || sysctl -n machdep.cpu.brand_string 2>/dev/null || uname -m)"
	echo "cores: $(getconf _NPROCESSORS_ONLN)"
	echo "os: $(uname -s) $(uname -r | cut -d. -f1,2)"
	echo "go: $(go env GOVERSION)"
	echo "badger: $(version github.com/dgraph-io/badger/v4)"
	echo "go-redis: $(version github.com/redis/go-redis/v9)"
	echo "mongo-driver: $(version go.mongodb.org/mongo-driver/v2)"
	echo "scs: $(version github.com/alexedwards/scs/v2)"
	echo "redis_rate: $(version github.com/go-redis/redis_rate/v10)"
	echo "redis-server: $(redis-server --version 2>/dev/null | sed -n 's/.* v=\([^ ]*\) .*/\1/p' | grep . || echo none)"
	echo "nginx: $(nginx -v 2>&1 | sed -n 's/.*nginx\///p' | grep . || echo none)"
	echo "commit: $(git describe --always --dirty 2>/dev/null || echo unknown)"
	echo "date: $(date -u +%Y-%m-%d)"
	echo "command: $1"
}

mkdir -p results
for package in "${packages[@]}"; do
	command=(go test -run '^$' -bench . -benchtime "$benchtime" -count "$count" -timeout 3h "./$package")
	# A run that fails leaves the last result as it is.
	unfinished=results/$package.unfinished
	{ configuration "${command[*]}"; "${command[@]}"; } | tee "$unfinished"
	mv "$unfinished" "results/$package.txt"
done
