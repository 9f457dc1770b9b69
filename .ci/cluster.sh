# Sourced by .ci/run: the test cluster of ../shared/cluster, started in the background, and tests/cluster on it.
cluster=$PWD/../shared/cluster/cluster
cluster_log=$(mktemp) cluster_pid=

# What has been built is up within a minute. To build it takes 20 minutes on two cores, which would make CI longer than
# the tests, and a part of it helps nobody: RETORT_CLUSTER_BUILD=25m builds it, for so long at most.
build_cluster() {
    [ -x "$cluster" ] && ! "$cluster" status >/dev/null 2>&1 || return 0
    timeout --kill-after=30 "${RETORT_CLUSTER_BUILD:-60}" \
        sh -c '{ test -z "$2" || "$1" build; } && "$1" up' sh "$cluster" "${RETORT_CLUSTER_BUILD:-}" \
        >"$cluster_log" 2>&1 &
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
            echo "cluster: not up within ${RETORT_CLUSTER_BUILD:-60 s}; tests/cluster is skipped"
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
