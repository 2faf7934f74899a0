#!/usr/bin/env bash
# The smoke run on a real cluster: a simulated log of two spans in the object store, the pipeline compiled and submitted
# for span 0, and what the store has then. It makes two jobs, an experiment and a run, writes below
# $STORE_ROOT/smoke-TIME alone, and leaves everything there to be looked at.
#
#   IMAGE=registry.example.com/diet-tf:0.1.0 HOST=http://localhost:8080 STORE_ROOT=s3://bucket/diet kubeflow/smoke.sh
#
# IMAGE        built from this checkout, and pushed
# HOST         Kubeflow Pipelines as seen from here (kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80)
# STORE_ROOT   a place in the object store
# NAMESPACE    of the jobs, the run and the secret diet-tf-s3 (default: kubeflow)
# S3_ENDPOINT  of a server other than Amazon's, as the cluster sees it; S3_REGION (default: us-east-1)
# TOKEN_FILE   where Kubeflow has several users: a file with a bearer token; NAMESPACE is then the user's profile
#
# Expected, with exit code 0 (only times, URLs and lines about the nodes differ):
#
#   smoke: the secret diet-tf-s3 is there
#   span 0 rows 5000
#   span 1 rows 5000
#   span-0.csv span-1.csv
#   smoke: the log is written
#   smoke: the pipeline is compiled
#   http://localhost:8080/#/runs/details/...
#   smoke: the run has succeeded
#   span 0: 96 slots for 5000 examples
#   smoke: passed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

: "${IMAGE:?names the image, with its tag}"
: "${HOST:?is the URL of Kubeflow Pipelines}"
: "${STORE_ROOT:?is a place in the object store, s3://BUCKET/PATH}"
NAMESPACE=${NAMESPACE:-kubeflow}
S3_ENDPOINT=${S3_ENDPOINT:-}
S3_REGION=${S3_REGION:-us-east-1}
TOKEN_FILE=${TOKEN_FILE:-}
DIET=${DIET:-.venv/bin/diet}
SECRET=diet-tf-s3
EXPECTED="span 0: 96 slots for 5000 examples"

say() { printf 'smoke: %s\n' "$*"; }
die() { printf 'smoke: %s\n' "$*" >&2; exit 1; }

case $STORE_ROOT in s3://?*) ;; *) die "STORE_ROOT is s3://BUCKET/PATH; received: $STORE_ROOT" ;; esac
command -v kubectl > /dev/null || die "kubectl is not on PATH"
command -v "$DIET" > /dev/null || die "there is no $DIET: run make setup, or set DIET"
PLACE=${STORE_ROOT%/}/smoke-$(date -u +%Y%m%d-%H%M%S)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

# Runs a step of manifests/smoke-job.yaml in the cluster and prints what it says.
in_cluster() {
  local job=diet-tf-smoke-$1
  sed -e "s|@STEP@|$1|" -e "s|@IMAGE@|$IMAGE|" -e "s|@PLACE@|$PLACE|" -e "s|@S3_ENDPOINT@|$S3_ENDPOINT|" \
    -e "s|@S3_REGION@|$S3_REGION|" kubeflow/manifests/smoke-job.yaml > "$WORK/job.yaml"
  kubectl delete job "$job" -n "$NAMESPACE" --ignore-not-found > /dev/null
  kubectl apply -n "$NAMESPACE" -f "$WORK/job.yaml" > /dev/null
  if ! kubectl wait -n "$NAMESPACE" --for=condition=complete --timeout=900s "job/$job" > /dev/null; then
    kubectl describe -n "$NAMESPACE" "job/$job" >&2 || true
    kubectl logs -n "$NAMESPACE" "job/$job" >&2 || true
    die "the job $job did not end well"
  fi
  kubectl logs -n "$NAMESPACE" "job/$job"
}

kubectl get secret "$SECRET" -n "$NAMESPACE" > /dev/null || die "no secret $SECRET in $NAMESPACE: see kubeflow/README.md"
say "the secret $SECRET is there"
in_cluster log
say "the log is written"

compile=("$DIET" kubeflow compile --config examples/csv.yaml --image "$IMAGE" --output "$WORK/pipeline.yaml"
  --data-dir "$PLACE/log" --store "$PLACE/store" --s3-secret "$SECRET" --s3-region "$S3_REGION")
[ -z "$S3_ENDPOINT" ] || compile+=(--s3-endpoint "$S3_ENDPOINT")
"${compile[@]}" > /dev/null
say "the pipeline is compiled"

submit=("$DIET" kubeflow submit --package "$WORK/pipeline.yaml" --host "$HOST" --experiment diet-tf-smoke
  --parameter span=0 --wait --timeout 3600)
[ -z "$TOKEN_FILE" ] || submit+=(--token-file "$TOKEN_FILE" --namespace "$NAMESPACE")
"${submit[@]}"
say "the run has succeeded"

in_cluster show | tee "$WORK/shown.txt"
grep -qxF "$EXPECTED" "$WORK/shown.txt" || die "the store does not have what was expected: $EXPECTED"
say "passed"
