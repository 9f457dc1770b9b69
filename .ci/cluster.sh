# Sourced by .ci/run: the test cluster of ../shared/cluster, built in the background, and tests/cluster on it.
cluster=$PWD/../shared/cluster/cluster
cluster_log=$(mktemp) cluster_pid=

# With its caches it is up in a minute or two. From empty ones it takes 20 minutes on two cores, which would make CI
# longer than the tests: give RETORT_CLUSTER_LIMIT=25m for that, or have it up before.
build_cluster() {
    [ -x "$cluster" ] && ! "$cluster" status >/dev/null 2>&1 || return 0
    timeout --kill-after=30 "${RETORT_CLUSTER_LIMIT:-4m}" \
        sh -c '"$1" build && "$1" up' sh "$cluster" >"$cluster_log" 2>&1 &
    cluster_pid=$!
}

# Ends the script with pytest's exit status and summary if a test fails. A cluster that ran before is left as it is.
test_on_cluster() {
    if [ ! -x "$cluster" ]; then
        echo "cluster: $cluster is not there; tests/cluster is skipped"
        return
    fi
    local started=
    if [ -n "$cluster_pid" ]; then
        local status=0
        wait "$cluster_pid" || status=$?
        if [ $status -eq 124 ] || [ $status -eq 137 ]; then
            echo "cluster: not up within ${RETORT_CLUSTER_LIMIT:-4m}; tests/cluster is skipped"
            return
        elif [ $status -ne 0 ]; then
            echo "cluster: cannot be had ($(tail -n 1 "$cluster_log")); tests/cluster is skipped"
            return
        fi
        started=$cluster
    fi
    (
        eval "$("$cluster" env)"
        # Only a cluster of our own may lose nodes. What trains for minutes is left to `make test-cluster` by hand.
        RETORT_REMOTE=s3://retort-ci RETORT_CLUSTER_TOOL=$started make test-cluster CLUSTER_TESTS="'cluster and not slow'"
    )
    if [ -n "$started" ]; then "$cluster" down; fi
}
