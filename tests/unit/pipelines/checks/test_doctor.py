"""`retort doctor --cluster`: what is said of a cluster that has everything, and of each thing that it lacks."""

import base64
import json

import pytest
from retort_pipelines.profiles import FOLDER

from tests.kubeflow_server.cluster import PREFIX

GENERIC = FOLDER / "generic.yaml"
LAUNCHER = f"{PREFIX}/configmaps/kfp-launcher"


def found(cluster, code=0, *flags):
    return {one["name"]: one for one in cluster.json("doctor", "--cluster", *flags, code=code)["checks"]}


@pytest.fixture(autouse=True)
def root(cluster):
    """Where Kubeflow keeps artifacts: in the same store, with the same keys under its own names."""
    provider = {
        "endpoint": cluster.s3.url,
        "region": "us-east-1",
        "credentials": {"secretRef": {"secretName": "own", "accessKeyKey": "a", "secretKeyKey": "s"}},
    }
    cluster.kubernetes.put(
        LAUNCHER,
        data={"defaultPipelineRoot": "s3://kfp/root", "providers": json.dumps({"s3": {"default": provider}})},
    )
    cluster.kubernetes.put(f"{PREFIX}/secrets/own", data={"a": encoded("right"), "s": encoded("x")})


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def test_a_cluster_that_has_everything(cluster):
    checks = found(cluster)
    assert {one["status"] for one in checks.values()} == {"OK"}
    assert (
        checks["storage"]["found"]
        == "s3://bucket/store: write, read and delete, with the pods' credentials (retort-store)"
    )
    assert checks["pipeline root"]["found"].startswith("s3://kfp/root: write, read and delete, with Kubeflow's own")
    assert checks["kubeflow pipelines"]["found"] == f"2.17.0 at {cluster.kubeflow.address}"
    assert "all 7" in checks["rights"]["found"]
    assert not [name for name in cluster.s3.objects if "checks" in name]  # nothing is left behind


def test_without_the_secret_it_is_said_whose_credentials_reached_the_store(cluster):
    del cluster.kubernetes.objects[f"{PREFIX}/secrets/retort-store"]
    checks = found(cluster, 69)
    assert checks["store secret"]["status"] == "missing"
    assert checks["storage"]["status"] == "optional"
    assert "with this machine's credentials, none of secret retort-store" in checks["storage"]["found"]


def test_a_secret_without_a_key_is_named(cluster):
    cluster.kubernetes.objects[f"{PREFIX}/secrets/retort-store"]["data"].pop("AWS_SECRET_ACCESS_KEY")
    assert "retort-store lacks AWS_SECRET_ACCESS_KEY" in found(cluster, 69)["store secret"]["found"]


def test_wrong_keys_of_the_pods_are_told_from_this_machines(cluster):
    cluster.kubernetes.objects[f"{PREFIX}/secrets/retort-store"]["data"]["AWS_ACCESS_KEY_ID"] = encoded("wrong")
    check = found(cluster, 69)["storage"]
    assert (check["status"], "(with the pods' credentials (retort-store))" in check["found"]) == ("missing", True)
    assert "Correct secret retort-store" in check["remedy"]


def test_kubeflows_own_keys_that_its_store_refuses_are_said(cluster):
    cluster.kubernetes.put(f"{PREFIX}/secrets/own", data={"a": encoded("wrong"), "s": encoded("x")})
    check = found(cluster, 69)["pipeline root"]
    assert check["status"] == "missing"
    assert "stages would fail after their work is done" in check["remedy"]


def test_kubeflows_secret_that_is_not_there_is_said(cluster):
    del cluster.kubernetes.objects[f"{PREFIX}/secrets/own"]
    assert "no secret own in retort" in found(cluster, 69)["pipeline root"]["found"]


def test_kubeflows_secret_that_may_not_be_read_is_no_trouble(cluster):
    cluster.kubernetes.refuse("GET .*/secrets/own", 403)
    check = found(cluster)["pipeline root"]
    assert (check["status"], check["found"]) == ("optional", "cannot be asked: no right to")


def test_a_store_of_kubeflows_that_only_pods_reach_is_no_trouble(cluster):
    del cluster.kubernetes.objects[LAUNCHER]
    names = {"accesskey": encoded("right"), "secretkey": encoded("x")}
    cluster.kubernetes.put(f"{PREFIX}/secrets/mlpipeline-minio-artifact", data=names)
    cluster.patch.setattr(
        "retort_pipelines.checks.pipeline_root._SERVICE", {"endpoint": "http://127.0.0.1:9", "region": "minio"}
    )
    check = found(cluster)["pipeline root"]
    assert check["status"] == "optional"
    assert check["found"].startswith("minio://mlpipeline/v2/artifacts (Kubeflow's default)")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"defaultPipelineRoot": "gs://bucket/root"}, "gs://bucket/root: not tried"),
        (
            {"defaultPipelineRoot": "s3://b/r", "providers": "s3: {default: {credentials: {fromEnv: true}}}"},
            "s3://b/r: not tried",
        ),
    ],
)
def test_what_cannot_be_tried_is_said(cluster, data, words):
    cluster.kubernetes.put(LAUNCHER, data=data)
    check = found(cluster)["pipeline root"]
    assert (check["status"], check["found"]) == ("optional", words)


def test_an_override_for_the_roots_bucket_counts(cluster):
    data = cluster.kubernetes.objects[LAUNCHER]["data"]
    provider = json.loads(data["providers"])["s3"]
    secret = {"secretRef": {"secretName": "gone", "accessKeyKey": "a", "secretKeyKey": "s"}}
    provider["overrides"] = [{"bucketName": "kfp", "keyPrefix": "root", "credentials": secret}, {"bucketName": "other"}]
    data["providers"] = json.dumps({"s3": provider})
    assert "no secret gone" in found(cluster, 69)["pipeline root"]["found"]


@pytest.mark.parametrize(
    ("path", "check", "words"),
    [
        (PREFIX, "namespace", "Correct the profile's namespace, or make it: kubectl apply -k k8s/overlays/generic"),
        (f"{PREFIX}/serviceaccounts/pipeline-runner", "service account", "or name another in the profile"),
        ("/api/v1/nodes/gpu-0", "nodes", "There are: cpu-0 (8 cores, 32Gi, no GPU)"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(cluster, path, check, words):
    del cluster.kubernetes.objects[path]
    one = found(cluster, 69)[check]
    assert one["status"] == "missing"
    assert words in one["remedy"]


def test_rights_that_are_lacking_are_named(cluster):
    cluster.kubernetes.forbidden |= {("list", "pods"), ("get", "pods/log"), ("get", "secrets")}
    one = found(cluster, 69)
    assert one["rights"]["found"] == "may not get secrets retort-store, list pods, get pods/log in retort"
    assert one["storage"]["found"] == "cannot be asked: no right to"


def test_quota_that_no_pod_of_a_stage_fits_into(cluster):
    cluster.kubernetes.put(f"{PREFIX}/resourcequotas/small", status={"hard": {"requests.nvidia.com/gpu": "0"}})
    words = found(cluster, 69)["quota"]["found"]
    assert words.startswith("small allows 0 of requests.nvidia.com/gpu (0 of it in use), a pod of ")
    assert words.endswith(" asks for 1")


def test_images_that_no_node_has(cluster, tmp_path):
    profile = tmp_path / "p.yaml"
    profile.write_text(f"extends: {GENERIC}\nimages: {{train: 'r.example.com/a/b:1'}}\n")
    check = found(cluster, 0, "--profile", str(profile))["images"]
    assert (check["status"], check["remedy"]) == ("optional", "It is pulled when the run starts")
    profile.write_text(f"extends: {GENERIC}\nimages: {{train: 'own/b:1'}}\n")
    assert (
        "the name has no registry to pull it from" in found(cluster, 69, "--profile", str(profile))["images"]["found"]
    )


def test_retries_that_argo_does_not_do(cluster):
    path = "/api/v1/namespaces/kubeflow/configmaps/workflow-controller-configmap"
    data = cluster.kubernetes.objects[path]["data"]
    whole = data["workflowDefaults"]
    data["workflowDefaults"] = whole.replace('factor: "2"', "").replace(
        'duration: "10s"', ""
    )  # as older patches left it
    assert "a restart of Kubeflow's API server ends a run between stages" in found(cluster)["retries"]["found"]
    data["workflowDefaults"] = whole.replace("not tried again", "")
    check = found(cluster)["retries"]
    assert (check["status"], check["found"]) == (
        "optional",
        "failed stages and evicted pods alike, also a stage that failed twice for what no attempt mends",
    )
    assert "with k8s/kubeflow" in check["remedy"]
    cluster.kubernetes.objects[path]["data"] = {}
    assert "Argo's template defaults say nothing" in found(cluster)["retries"]["found"]
    del cluster.kubernetes.objects[path]
    assert "no workflow-controller-configmap found" in found(cluster)["retries"]["found"]


def test_several_nodes_need_the_trainer(cluster, tmp_path):
    profile = tmp_path / "p.yaml"
    profile.write_text(f"extends: {GENERIC}\nstages: {{sft: {{nodes: 2}}}}\n")
    assert "no TrainingRuntime retort in retort" in found(cluster, 69, "--profile", str(profile))["trainer"]["found"]
    cluster.kubernetes.put("/apis/trainer.kubeflow.org/v1alpha1/namespaces/retort/trainingruntimes/retort")
    assert found(cluster, 0, "--profile", str(profile))["trainer"]["found"] == "TrainingRuntime retort, for sft"


def test_queues_of_kueue(cluster, tmp_path):
    profile = tmp_path / "p.yaml"
    profile.write_text(f"extends: {GENERIC}\nmodels: {{queue: q}}\n")
    flags = ("--profile", str(profile))
    assert found(cluster, 69, *flags)["kueue queue"]["found"] == "no Kueue 0.15 or newer"
    base = "/apis/kueue.x-k8s.io/v1beta2"
    cluster.kubernetes.put(f"{base}/namespaces/retort/localqueues/other", spec={"clusterQueue": "c"})
    assert found(cluster, 69, *flags)["kueue queue"]["found"] == "no q; there are: other"
    cluster.kubernetes.put(f"{base}/namespaces/retort/localqueues/q", spec={"clusterQueue": "c"})
    resources = [{"name": name, "nominalQuota": quota} for name, quota in (("cpu", "4"), ("memory", "64Gi"))]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "f", "resources": resources}]}
    cluster.kubernetes.put(f"{base}/clusterqueues/c", spec={"resourceGroups": [group]})
    assert "cluster queue c has no nvidia.com/gpu" in found(cluster, 69, *flags)["kueue queue"]["found"]
    profile.write_text(f"extends: {GENERIC}\nmodels: {{queue: q, gpus: 0}}\n")
    assert found(cluster, 0, *flags)["kueue queue"]["found"] == "q (0 admitted, 0 waiting)"


def test_a_kubernetes_that_is_away_leaves_kubeflow_to_be_looked_at(cluster):
    with cluster.kubernetes.away():
        checks = found(cluster, 69)
    assert checks["api server"]["status"] == "missing"
    assert checks["kubeflow pipelines"]["status"] == "OK"


def test_a_kubeflow_that_is_away_or_refuses_is_said(cluster):
    with cluster.kubeflow.away():
        assert "does not answer" in found(cluster, 69)["kubeflow pipelines"]["found"]
    cluster.kubeflow.token = "fresh"
    assert "RETORT_KFP_TOKEN" in found(cluster, 69)["kubeflow pipelines"]["found"]


def test_a_configuration_of_kubernetes_that_is_not_there_or_malformed_is_said(cluster):
    import kubernetes

    for text in (None, "", "clusters: [", "[]", "current-context: x\nkind: Config\n"):
        file = cluster.home / "other"
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text)
        cluster.patch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(file))
        assert "no Kubernetes is configured" in found(cluster, 69)["api server"]["found"], text


def test_kubeconfig_may_name_several_files(cluster):
    import kubernetes

    both = f"{cluster.home / 'never-there'}:{cluster.home / 'kubeconfig'}"
    cluster.patch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", both)
    assert found(cluster)["api server"]["status"] == "OK"


def test_the_page_for_people_ends_with_what_is_missing(cluster):
    del cluster.kubernetes.objects[f"{PREFIX}/secrets/retort-store"]
    out, _ = cluster.retort("doctor", "--cluster", code=69)
    assert out.endswith("Missing: store secret.\n")
